-- Times are milliseconds since the Unix epoch. Each change of a batch raises its version in the same transaction;
-- a photo carries the version at which it last changed. Ids are ordered by their bytes, as in SQLite.
CREATE TABLE batches (
  id         TEXT COLLATE "C" PRIMARY KEY,
  project_id TEXT NOT NULL,
  owner      TEXT,
  epoch      BIGINT NOT NULL,
  version    BIGINT NOT NULL,
  status     TEXT NOT NULL,
  total      BIGINT NOT NULL,
  queued     BIGINT NOT NULL,
  processing BIGINT NOT NULL,
  completed  BIGINT NOT NULL,
  failed     BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);

CREATE INDEX batches_of_project ON batches (project_id, created_at DESC, id);
-- A user's list of a project: without it, all that others have there is walked through.
CREATE INDEX batches_of_owner ON batches (project_id, owner, created_at DESC, id);
CREATE INDEX batches_by_change ON batches (updated_at);

CREATE TABLE photos (
  id          TEXT COLLATE "C" PRIMARY KEY,
  batch_id    TEXT COLLATE "C" NOT NULL REFERENCES batches (id),
  name        TEXT NOT NULL,
  status      TEXT NOT NULL,
  version     BIGINT NOT NULL,
  result      TEXT,
  error       TEXT,
  received_at BIGINT,            -- NULL: not uploaded yet
  expires_at  BIGINT NOT NULL,   -- until when the upload must have come
  traceparent TEXT               -- of the request that brought the photo; NULL: none
);

CREATE INDEX photos_of_batch ON photos (batch_id, version);
CREATE INDEX photos_awaited ON photos (expires_at) WHERE status = 'QUEUED' AND received_at IS NULL;
