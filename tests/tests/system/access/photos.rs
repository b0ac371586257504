//! Files that are no photos, or more than photos.

use anyhow::{Context, Result, ensure};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use stack::Viewer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{closed, declare, refusal, upload};

/// A PNG's signature and first chunk, which announces this size, and the beginning of its pixels.
fn png_of(side: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend([side.to_be_bytes(), side.to_be_bytes()].concat());
    header.extend([8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(&header);
    png.extend(crc32(&header).to_be_bytes());
    png.extend(b"\0\0\0\x0aIDAT\x78\x9c\x63\0\0\0\0\x01\0\x01");
    png
}

/// PNG, annex D.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[tokio::test]
async fn bombs_archives_and_nothing_at_all_fail_alone_and_cost_little() -> Result<()> {
    let stack = closed().start().await?;
    let token = stack.token("anna");
    let files = [
        ("bomb.png", png_of(60_000), "megapixels"),
        ("archive.jpg", b"PK\x03\x04\x14\0\0\0\x08\0photos.zip".to_vec(), "not an image"),
        ("empty.jpg", Vec::new(), "not an image"),
    ];
    let (batch, ids) = declare(&stack, &token, &files.each_ref().map(|(name, ..)| *name)).await?;
    let before = stack.photo_worker.resident_bytes()?;
    for ((name, bytes, _), id) in files.iter().zip(&ids) {
        let uploaded = upload(&stack, &token, &batch, id, name, bytes.clone()).await?;
        assert_eq!(uploaded.status(), StatusCode::ACCEPTED, "{name}");
    }
    let mut viewer = Viewer::open_with(Viewer::request(&stack.stream_url(&batch)).bearer_auth(&token)).await?;
    let end = viewer.rest().await?;
    assert_eq!(end.last().map(|seen| seen.data["status"].clone()), Some(json!("FAILED")));
    let read = Client::new().get(format!("{}/api/batches/{batch}", stack.edge.url())).bearer_auth(&token);
    let state: Value = read.send().await?.json().await?;
    for ((name, _, words), id) in files.iter().zip(&ids) {
        let photos = state["photos"].as_array().context("no photos")?;
        let photo = photos.iter().find(|photo| photo["photoId"] == **id).context("no photo")?;
        assert!(photo["error"].as_str().is_some_and(|error| error.contains(words)), "{name}: {photo}");
    }
    let grown = stack.photo_worker.resident_bytes()?.saturating_sub(before);
    // Decoded, the first alone would take ten gigabytes.
    ensure!(grown < 100_000_000, "the photo worker grew by {grown} bytes");
    Ok(())
}

/// The head of an upload that announces `bytes`, of which none follows; the answer's first line.
async fn announced(address: &str, token: &str, bytes: u64) -> Result<String> {
    let mut socket = TcpStream::connect(address.trim_start_matches("http://")).await?;
    let head = format!(
        "POST /api/photos/upload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {bytes}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await?;
    let (mut answer, mut some) = (Vec::new(), [0; 1024]);
    while !answer.contains(&b'\n') {
        let read = tokio::time::timeout(stack::GUARD, socket.read(&mut some)).await??;
        ensure!(read > 0, "no answer to {bytes} announced bytes");
        answer.extend(&some[..read]);
    }
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn two_gigabytes_that_are_announced_are_refused_before_they_come() -> Result<()> {
    const TWO_GIGABYTES: u64 = 2 * 1024 * 1024 * 1024;
    let stack = closed().start().await?;
    for address in [stack.edge.url(), stack.photo_worker.url()] {
        let status = announced(address, &stack.token("anna"), TWO_GIGABYTES).await?;
        assert!(status.contains(" 413 "), "{address}: {status}");
    }
    // A stranger's bytes are not waited for, however few.
    let status = announced(stack.photo_worker.url(), "nobody", 1_000_000).await?;
    assert!(status.contains(" 401 "), "{status}");
    let too_many = json!({"projectId": "p", "photos": vec![json!({"name": "a", "size": 1}); 10_001]});
    let post = Client::new().post(format!("{}/api/batches", stack.edge.url())).bearer_auth(stack.token("anna"));
    let said = refusal(post.json(&too_many).send().await?, 400, "bad-request").await?;
    assert!(said.contains("10000"), "{said}");
    Ok(())
}
