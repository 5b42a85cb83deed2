CREATE TABLE periodic_work (
    name    TEXT   NOT NULL PRIMARY KEY COLLATE "C",
    done_at BIGINT NOT NULL
);
