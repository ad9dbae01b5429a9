CREATE TABLE prefabs (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    visibility TEXT NOT NULL CHECK (visibility IN ('private', 'public')),
    created_at REAL NOT NULL
);
CREATE INDEX prefabs_by_owner ON prefabs (owner);

CREATE TABLE prefab_versions (
    id TEXT PRIMARY KEY,
    prefab_id TEXT NOT NULL REFERENCES prefabs (id) ON DELETE CASCADE,
    version TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'building', 'deployed', 'yanked', 'failed')),
    digest TEXT NOT NULL,
    manifest TEXT NOT NULL,
    warnings TEXT NOT NULL,
    reason TEXT NOT NULL,
    log TEXT NOT NULL,
    created_at REAL NOT NULL,
    finished_at REAL
);
-- A failed version may be published again; everything else is there once and for ever.
CREATE UNIQUE INDEX prefab_versions_once ON prefab_versions (prefab_id, version) WHERE state <> 'failed';
CREATE INDEX prefab_versions_by_prefab ON prefab_versions (prefab_id, created_at);
CREATE INDEX prefab_versions_by_state ON prefab_versions (state);

-- No foreign keys: a job outlives what it called.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    user TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('RUNNING', 'COMPLETED', 'PARTIAL_SUCCESS', 'FAILED', 'CANCELLED')),
    calls TEXT NOT NULL,
    results TEXT,
    created_at REAL NOT NULL,
    finished_at REAL,
    asynchronous INTEGER NOT NULL,
    idempotency_key TEXT,
    body_digest TEXT NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state);
CREATE INDEX jobs_by_age ON jobs (finished_at);
CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (owner, user, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE job_events (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    call INTEGER NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;
