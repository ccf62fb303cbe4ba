//! How long a call waits. What is asked may rightly take its time (git, a large disk, a guest), so a call is
//! not given a limit of its own: while it waits, the daemon is asked something easy now and then, and must
//! answer that.

use std::time::Duration;

use http::Method;
use tokio::time::{Instant, sleep};

use super::connect::START_LIMIT;
use super::{Client, ClientError};
use crate::daemon::DaemonStatus;
use crate::record::DaemonRecord;

/// How long the daemon may be silent before it is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(2);

/// How long it may take to answer something easy, on a host that is busy.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);

/// How often in a row it may fail to answer before work under way is given up. A daemon that has slept beside
/// a build that writes gigabytes has to be read in from the same disk first.
const MISSES_MAX: u32 = 3;

impl Client {
    /// Waits for `work`, for as long as the daemon answers.
    pub(super) async fn while_it_answers<T>(
        &self,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        tokio::select! {
            biased;
            done = work => done,
            error = self.silence() => Err(error),
        }
    }

    /// Waits for `work` that is easy.
    pub(super) async fn at_once<T>(
        &self,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        tokio::select! {
            biased;
            done = work => done,
            pid = self.no_answer() => Err(ClientError::Silent { pid }),
        }
    }

    /// Comes back with the daemon's pid when it should have answered by now.
    async fn no_answer(&self) -> Option<u32> {
        let begun = Instant::now();
        loop {
            sleep(ANSWER_LIMIT).await;
            let record = DaemonRecord::read(&self.state);
            let starts = record.as_ref().is_some_and(|record| record.socket.is_none());
            if !starts || begun.elapsed() > START_LIMIT {
                return record.map(|record| record.pid);
            }
        }
    }

    /// Comes back when the daemon does not answer any more.
    async fn silence(&self) -> ClientError {
        let mut misses = 0;
        loop {
            sleep(SILENCE).await;
            let status = self.exchange_json::<DaemonStatus>(Method::GET, "/v1/daemon", &());
            match self.at_once(status).await {
                Err(error @ ClientError::Silent { .. }) if misses + 1 == MISSES_MAX => return error,
                Err(ClientError::Silent { .. }) => misses += 1,
                // One that ends hangs up on `work`, which tells better.
                _ => misses = 0,
            }
        }
    }
}
