CREATE TABLE project_dek (
    project_id           TEXT   NOT NULL COLLATE "C",
    version              BIGINT NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    kek_id               TEXT   NOT NULL COLLATE "C",
    encrypted_dek        TEXT   NOT NULL,
    encrypted_dek_sha256 BYTEA  NOT NULL UNIQUE,
    fingerprint          BYTEA  NOT NULL UNIQUE,
    row_mac              BYTEA  NOT NULL,
    state                TEXT   NOT NULL,
    origin               TEXT   NOT NULL,
    encryptions          BIGINT NOT NULL DEFAULT 0,
    created_at           BIGINT NOT NULL,
    PRIMARY KEY (project_id, version)
);

CREATE UNIQUE INDEX project_dek_primary ON project_dek (project_id) WHERE state = 'primary';

CREATE TABLE kek_canary (
    kek_id     TEXT   NOT NULL PRIMARY KEY COLLATE "C",
    sealed     BYTEA  NOT NULL,
    founding   BIGINT UNIQUE,
    created_at BIGINT NOT NULL
);
