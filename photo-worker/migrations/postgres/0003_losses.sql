-- How many processes were lost at work on a photo. One that costs too many is given up.
ALTER TABLE photos ADD COLUMN losses BIGINT NOT NULL DEFAULT 0;

-- Processes at work, and until when each is taken to live: what one that is gone may have left untold, another tells.
CREATE TABLE workers (
  id          TEXT PRIMARY KEY,
  alive_until BIGINT NOT NULL
);
