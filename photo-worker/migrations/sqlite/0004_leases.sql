-- Whose a photo in work is, and until when nobody else may take it; of a photo that is not, who had it last. 0: anyone's.
ALTER TABLE photos ADD COLUMN leased_by TEXT;
ALTER TABLE photos ADD COLUMN leased_until INTEGER NOT NULL DEFAULT 0;

-- Processes look for work every few seconds: through open batches alone, and their photos that are not done.
CREATE INDEX batches_open ON batches (id) WHERE status IN ('QUEUED', 'PROCESSING');
CREATE INDEX photos_to_do ON photos (batch_id, received_at)
  WHERE status IN ('QUEUED', 'PROCESSING') AND received_at IS NOT NULL;
