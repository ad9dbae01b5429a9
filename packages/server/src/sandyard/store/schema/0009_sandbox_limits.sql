-- What a sandbox was wished to have; NULL: as its template says.
ALTER TABLE sandboxes ADD COLUMN memory_mb INTEGER;
ALTER TABLE sandboxes ADD COLUMN cpu_count REAL;
