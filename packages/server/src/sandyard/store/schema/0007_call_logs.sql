-- What calls have printed, for whoever called; no foreign keys, as for jobs. Numbers are never given twice: they are places to go on from.
CREATE TABLE call_logs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    call TEXT NOT NULL,
    job_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    user TEXT NOT NULL,
    prefab_id TEXT NOT NULL,
    version TEXT NOT NULL,
    function TEXT NOT NULL,
    at REAL NOT NULL,
    succeeded INTEGER NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX call_logs_by_owner ON call_logs (owner, number);
CREATE INDEX call_logs_by_prefab ON call_logs (owner, user, prefab_id, number);
CREATE INDEX call_logs_by_job ON call_logs (job_id);
CREATE INDEX call_logs_by_age ON call_logs (at);
