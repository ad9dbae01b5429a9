-- Where to tell of a job's end. A row is there until it has been told, given up, or the job is forgotten.
CREATE TABLE webhooks (
    job_id TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX webhooks_by_time ON webhooks (due_at);
