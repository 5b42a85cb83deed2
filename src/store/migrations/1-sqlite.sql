CREATE TABLE project_dek (
    project_id           TEXT    NOT NULL,
    version              INTEGER NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    kek_id               TEXT    NOT NULL,
    encrypted_dek        TEXT    NOT NULL,
    encrypted_dek_sha256 BLOB    NOT NULL UNIQUE,
    fingerprint          BLOB    NOT NULL UNIQUE,
    row_mac              BLOB    NOT NULL,
    state                TEXT    NOT NULL,
    origin               TEXT    NOT NULL,
    encryptions          INTEGER NOT NULL DEFAULT 0,
    created_at           INTEGER NOT NULL,
    PRIMARY KEY (project_id, version)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX project_dek_primary ON project_dek (project_id) WHERE state = 'primary';

CREATE TABLE kek_canary (
    kek_id     TEXT    NOT NULL PRIMARY KEY,
    sealed     BLOB    NOT NULL,
    founding   INTEGER UNIQUE,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
