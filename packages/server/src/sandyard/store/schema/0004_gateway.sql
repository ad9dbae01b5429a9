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

-- A file is its row: bytes without one are nobody's. `writing` is an upload under way, `deleting` is hidden already.
CREATE TABLE files (
    key TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    user TEXT NOT NULL,
    agent TEXT,
    session TEXT,
    call TEXT,
    kind TEXT NOT NULL CHECK (kind IN ('agent-inputs', 'agent-outputs', 'agent-workspace')),
    name TEXT NOT NULL,
    media TEXT,
    size INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'writing', 'ready', 'deleting')),
    created_at REAL NOT NULL,
    expires_at REAL
);
CREATE INDEX files_by_user ON files (owner, user, kind, key);
CREATE INDEX files_by_end ON files (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE stored_bytes (owner TEXT PRIMARY KEY, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TRIGGER files_added AFTER INSERT ON files BEGIN
    INSERT INTO stored_bytes (owner, used) VALUES (NEW.owner, NEW.size) ON CONFLICT (owner) DO UPDATE SET used = used + NEW.size;
END;
CREATE TRIGGER files_changed AFTER UPDATE OF size ON files BEGIN
    UPDATE stored_bytes SET used = used + NEW.size - OLD.size WHERE owner = NEW.owner;
END;
CREATE TRIGGER files_removed AFTER DELETE ON files BEGIN
    UPDATE stored_bytes SET used = used - OLD.size WHERE owner = OLD.owner;
END;

CREATE TABLE prefab_secrets (
    owner TEXT NOT NULL,
    user TEXT NOT NULL,
    prefab_id TEXT NOT NULL,
    name TEXT NOT NULL,
    sealed TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    PRIMARY KEY (owner, user, prefab_id, name)
) WITHOUT ROWID;

-- An empty user, key or prefab means every one. For `calls`, `used` of `amount` are gone until `resets_at`; for `rate`, `resets_at`
-- is when the next call would be due if they came evenly (GCRA).
CREATE TABLE quotas (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    prefab_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('calls', 'rate')),
    amount INTEGER NOT NULL,
    period REAL NOT NULL,
    used INTEGER NOT NULL,
    resets_at REAL NOT NULL
);
CREATE UNIQUE INDEX quotas_once ON quotas (owner, user, key, prefab_id, kind);
CREATE TABLE reservations (
    call TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    prefab_id TEXT NOT NULL,
    version TEXT NOT NULL,
    function TEXT NOT NULL,
    taken TEXT NOT NULL,
    expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX reservations_by_end ON reservations (expires_at);
CREATE TABLE usage (
    day TEXT NOT NULL,
    owner TEXT NOT NULL,
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    prefab_id TEXT NOT NULL,
    version TEXT NOT NULL,
    function TEXT NOT NULL,
    calls INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (day, owner, user, key, prefab_id, version, function)
) WITHOUT ROWID;

CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    owner TEXT NOT NULL,
    user TEXT NOT NULL,
    credential TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL,
    digest TEXT NOT NULL
);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;
CREATE TRIGGER audit_is_not_cut BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;
