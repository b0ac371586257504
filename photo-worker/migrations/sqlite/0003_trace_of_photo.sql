-- The W3C traceparent of the request that brought the photo; NULL: none. Outlives a restart, as the job does.
ALTER TABLE photos ADD COLUMN traceparent TEXT;
