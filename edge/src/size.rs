//! How large a request may be. What is larger is refused before anything is done with it.

use wire::limits::{MAX_HEADER_BYTES, MAX_UPLOAD_BYTES, MAX_URL_BYTES};

use crate::problem::{Kind, Problem};

/// Checks a request's URL and headers, given as their bytes.
///
/// # Errors
/// 414 and 431, with the limit.
pub fn check(url_bytes: usize, header_bytes: usize) -> Result<(), Problem> {
    if url_bytes > MAX_URL_BYTES {
        let words = format!("The URL has {url_bytes} bytes; the limit is {MAX_URL_BYTES}.");
        return Err(Problem::new(Kind::UrlTooLong, words));
    }
    if header_bytes > MAX_HEADER_BYTES {
        let words =
            format!("The headers have {header_bytes} bytes; the limit is {MAX_HEADER_BYTES}. Send fewer cookies.");
        return Err(Problem::new(Kind::HeadersTooLarge, words));
    }
    Ok(())
}

/// Checks what a request that is passed through says of its body's length.
///
/// # Errors
/// 413, with the limit.
pub fn check_body(content_length: Option<&str>) -> Result<(), Problem> {
    let announced = content_length.and_then(|text| text.trim().parse::<u64>().ok());
    match announced {
        Some(bytes) if bytes > MAX_UPLOAD_BYTES => {
            let words =
                format!("The body has {bytes} bytes; the limit is {MAX_UPLOAD_BYTES}. Upload fewer files at once.");
            Err(Problem::new(Kind::TooLarge, words))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_told_the_limit() {
        assert_eq!(check(MAX_URL_BYTES, MAX_HEADER_BYTES), Ok(()));
        assert_eq!(check(MAX_URL_BYTES + 1, 0).unwrap_err().status(), 414);
        assert_eq!(check(9, MAX_HEADER_BYTES + 1).unwrap_err().status(), 431);
        for fine in [None, Some("0"), Some("536870912"), Some("soon")] {
            assert_eq!(check_body(fine), Ok(()), "{fine:?}");
        }
        let problem = check_body(Some("2147483648")).unwrap_err();
        assert!(problem.status() == 413 && problem.detail.contains("536870912"), "{}", problem.detail);
    }
}
