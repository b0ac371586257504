-- How many processes were lost at work on a photo. One that costs too many is given up.
ALTER TABLE photos ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;
