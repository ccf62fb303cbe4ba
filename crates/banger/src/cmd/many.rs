use std::collections::HashSet;
use std::hash::Hash;

use banger_api::ClientError;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;

use super::Outcome;
use crate::error::{CommandError, api_error};
use crate::ui;

/// The first of each, in the order they came.
pub(crate) fn first_of_each<T, K: Eq + Hash>(items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = HashSet::new();
    items.into_iter().filter(|item| seen.insert(key(item))).collect()
}

/// Works on all of them at once and shows what came of each in the order given, good ones and bad ones.
/// The exit code is that of the first bad one.
pub(crate) async fn each<W, T>(work: W, mut show: impl FnMut(T) -> Result<(), CommandError>) -> Outcome
where
    W: IntoIterator,
    W::Item: Future<Output = Result<T, ClientError>>,
{
    let mut results: FuturesOrdered<_> = work.into_iter().collect();
    let mut code = 0;
    while let Some(result) = results.next().await {
        match result {
            Ok(done) => show(done)?,
            Err(error) => {
                let error = api_error(error);
                ui::print_error(&error);
                code = if code == 0 { error.code.exit_code() } else { code };
            }
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use banger_api::{ApiError, ErrorCode};

    use super::*;

    #[test]
    fn repeated_ones_count_once() {
        assert_eq!(first_of_each(vec!["b", "a", "b", "c", "a"], |item| *item), ["b", "a", "c"]);
    }

    #[test]
    fn good_ones_go_on_in_order_and_the_first_bad_one_decides() {
        let work = [(30, None), (0, Some(ErrorCode::NotFound)), (10, None), (0, Some(ErrorCode::Refused))];
        let work = work.map(|(wait_ms, bad)| async move {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            match bad {
                Some(code) => Err(ClientError::Api(ApiError::new(code, "bad"))),
                None => Ok(wait_ms),
            }
        });
        let mut shown = Vec::new();
        let code = super::super::block_on(each(work, |item| {
            shown.push(item);
            Ok(())
        }));
        assert_eq!((code.unwrap(), shown), (3, vec![30, 10]));
    }
}
