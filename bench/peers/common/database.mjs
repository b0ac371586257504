// The application's database: the photo worker's own schema, in SQLite, opened with the photo worker's own settings.

import { readdirSync, readFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";

const MIGRATIONS = new URL("../../../photo-worker/migrations/sqlite/", import.meta.url);
const TERMINAL = ["COMPLETED", "PARTIAL", "FAILED", "CANCELLED"];

/** How long a photo's upload is waited for: a column of the schema, without meaning here. */
const UPLOAD_MS = 15 * 60_000;

/** Opens it; makes it where there is none. */
export function open(file) {
  const db = new DatabaseSync(file, { timeout: 5_000 });
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON");
  // Server and worker may both be the first.
  transaction(db, () => {
    if (db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'batches'").get()) return;
    for (const name of readdirSync(MIGRATIONS).filter((name) => name.endsWith(".sql")).sort()) {
      db.exec(readFileSync(new URL(name, MIGRATIONS), "utf8"));
    }
  });
  return db;
}

/** Commits an update: the batch's counts and the photos that have changed, in one transaction. */
export function committer(db) {
  const exists = db.prepare("SELECT 1 FROM batches WHERE id = ?");
  const batchRow = db.prepare(
    `INSERT INTO batches (id, project_id, epoch, version, status, total, queued, processing, completed, failed,
                          created_at, updated_at)
     VALUES (:id, 'bench', :epoch, :version, :status, :total, :queued, :processing, :completed, :failed, :epoch, :at)
     ON CONFLICT (id) DO UPDATE SET epoch = :epoch, version = :version, status = :status, total = :total,
       queued = :queued, processing = :processing, completed = :completed, failed = :failed, updated_at = :at`,
  );
  const photoRow = db.prepare(
    `INSERT INTO photos (id, batch_id, name, status, version, result, error, received_at, expires_at)
     VALUES (:id, :batch, :photoId, :status, :version, :result, :error, :at, :expires)
     ON CONFLICT (id) DO UPDATE SET status = :status, version = :version, result = :result, error = :error`,
  );

  return ({ batch, at, state, changed }) =>
    transaction(db, () => {
      const [epoch, version] = state.position.split("-").map(Number);
      const isNew = !exists.get(batch);
      const { status, counts } = state;
      batchRow.run({ id: batch, epoch, version, status, ...counts, at });

      const wanted = new Set(changed);
      for (const { photoId, status, version, result, error } of state.photos) {
        if (!isNew && !wanted.has(photoId)) continue;
        photoRow.run({
          // Photos' ids are unique in the schema; those of the harness are so in their batch.
          id: `${batch}/${photoId}`,
          ...{ batch, photoId, status, version, at },
          result: result === undefined ? null : JSON.stringify(result),
          error: error ?? null,
          expires: epoch + UPLOAD_MS,
        });
      }
    });
}

/**
 * Reads a whole state, or nothing, with the time of its last update. Two queries: the counts, the photos. `rows` of what is
 * returned is how many photos' rows it has read.
 */
export function reader(db) {
  const batchRow = db.prepare("SELECT * FROM batches WHERE id = ?");
  const photoRows = db.prepare(
    "SELECT name, status, version, result, error FROM photos WHERE batch_id = ? ORDER BY rowid",
  );

  const read = (batchId) => {
    const row = batchRow.get(batchId);
    if (!row) return;
    const photos = photoRows.all(batchId);
    read.rows += photos.length;
    const { total, queued, processing, completed, failed } = row;
    const done = Math.floor((100 * (completed + failed)) / total) || 0;
    return {
      v: 1,
      batchId,
      position: `${row.epoch}-${row.version}`,
      status: row.status,
      progress: TERMINAL.includes(row.status) ? 100 : done,
      counts: { total, queued, processing, completed, failed },
      photos: photos.map(photo),
      updatedAt: new Date(row.updated_at).toISOString(),
      at: row.updated_at,
    };
  };
  read.rows = 0;
  return read;
}

function photo({ name, status, version, result, error }) {
  return {
    ...{ photoId: name, status, version },
    ...(result !== null && { result: JSON.parse(result) }),
    ...(error !== null && { error }),
  };
}

function transaction(db, run) {
  db.exec("BEGIN IMMEDIATE");
  try {
    run();
    db.exec("COMMIT");
  } catch (error) {
    db.exec("ROLLBACK");
    throw error;
  }
}
