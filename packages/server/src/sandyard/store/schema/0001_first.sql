CREATE TABLE templates (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    UNIQUE (owner, name)
);

CREATE TABLE builds (
    id TEXT PRIMARY KEY,
    template_id TEXT NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
    state TEXT NOT NULL CHECK (state IN ('pending', 'building', 'deployed', 'failed')),
    manifest TEXT NOT NULL,
    package TEXT NOT NULL,
    tags TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at REAL NOT NULL,
    finished_at REAL,
    size_bytes INTEGER,
    dependencies TEXT NOT NULL
);
CREATE INDEX builds_by_template ON builds (template_id, created_at);
CREATE INDEX builds_by_state ON builds (state);

CREATE TABLE tags (
    template_id TEXT NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
    tag TEXT NOT NULL,
    build_id TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    PRIMARY KEY (template_id, tag)
) WITHOUT ROWID;
CREATE INDEX tags_by_build ON tags (build_id);

CREATE TABLE log_lines (
    build_id TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    timestamp REAL NOT NULL,
    message TEXT NOT NULL,
    level TEXT NOT NULL,
    PRIMARY KEY (build_id, number)
) WITHOUT ROWID;

-- No foreign keys here: a row outlives its template, so that callers still hear why a sandbox ended.
CREATE TABLE sandboxes (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    template_id TEXT NOT NULL,
    build_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('starting', 'running', 'paused', 'stopped', 'failed')),
    reason TEXT NOT NULL,
    created_at REAL NOT NULL,
    ends_at REAL NOT NULL,
    on_timeout TEXT NOT NULL CHECK (on_timeout IN ('kill', 'pause')),
    public INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    isolation TEXT,
    exit_code INTEGER,
    output TEXT NOT NULL,
    idempotency_key TEXT
);
CREATE INDEX sandboxes_by_age ON sandboxes (created_at);
CREATE INDEX sandboxes_by_owner ON sandboxes (owner, created_at);
CREATE INDEX sandboxes_by_state ON sandboxes (state);
CREATE UNIQUE INDEX sandboxes_by_idempotency_key ON sandboxes (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    created_at REAL NOT NULL,
    revoked_at REAL
);
