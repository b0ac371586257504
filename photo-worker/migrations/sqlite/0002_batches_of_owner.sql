-- A user's list of a project: without it, all that others have there is walked through.
CREATE INDEX batches_of_owner ON batches (project_id, owner, created_at DESC, id);
