//! Counts a batch without a database: four workers, one of which reports everything twice, as a queue does that delivers
//! a job again.
//!
//! ```sh
//! REDIS_URL=redis://localhost:6379 cargo run -p batchcast-publisher --example tracker -- BATCH_ID [PHOTOS]
//! batchcast watch BATCH_ID
//! ```

use std::time::Duration;

use batchcast_publisher::{BatchId, Json, PhotoId, Publisher, TrackError};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let batch = BatchId::new(args.next().as_deref().unwrap_or("batch-without-database"))?;
    let total: usize = args.next().map_or(Ok(20), |photos| photos.parse())?;
    let photos = (1..=total).map(|n| PhotoId::new(&format!("photo-{n}"))).collect::<Result<Vec<_>, _>>()?;
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379".to_owned());

    // Whoever hands out the work declares it. To do so again, after a crash say, harms nothing.
    let publisher = Publisher::builder(&url).connect().await?;
    publisher.tracker(&batch, &photos).owner("anna".to_owned()).ttl(Duration::from_secs(3_600)).await?;

    // Workers need the batch's id alone, and may run anywhere.
    let shares = (0..4).map(|worker| {
        let share: Vec<PhotoId> = photos.iter().skip(worker).step_by(4).cloned().collect();
        tokio::spawn(work(url.clone(), batch.clone(), share, if worker == 0 { 2 } else { 1 }))
    });
    for share in shares.collect::<Vec<_>>() {
        share.await??;
    }
    let state = publisher.cached(&batch).await?.ok_or("redis has lost the batch")?;
    println!("{}", state.head().to_json());
    Ok(())
}

/// Works on its share, and reports each photo so often.
async fn work(url: String, batch: BatchId, share: Vec<PhotoId>, times: usize) -> Result<(), TrackError> {
    let tracker = Publisher::builder(&url).connect().await?.tracked(&batch);
    for photo in share.iter().flat_map(|photo| std::iter::repeat_n(photo, times)) {
        let report = tracker.photo(photo);
        report.started().await?;
        tokio::time::sleep(Duration::from_millis(50)).await; // The work.
        let tracked = match photo.as_str() {
            "photo-13" => report.failed("not a JPEG").await?,
            _ => report.completed(Json::new(&photo.as_str().len()).ok()).await?,
        };
        println!("{photo}: {:?}, {} %", tracked.outcome, tracked.head.progress());
        if tracked.ended_it() {
            println!("that was the last one");
        }
    }
    Ok(())
}
