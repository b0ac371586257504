//! The rows. Each group has a module with a function `rows`, each row a function there.

mod gateway;
mod life;
mod redis;
mod upstream;
mod viewers;

use crate::row::Row;

/// All rows in their order.
pub(crate) fn all() -> Vec<Row> {
    let groups = [gateway::rows(), life::rows(), redis::rows(), upstream::rows(), viewers::rows()];
    let mut rows: Vec<Row> = groups.into_iter().flatten().collect();
    rows.sort_by_key(|row| row.number);
    rows
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_number_is_given_twice() {
        let numbers: Vec<u8> = super::all().iter().map(|row| row.number).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    }
}
