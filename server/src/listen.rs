//! Taking connections and letting go of them: a client that sends nothing is dropped, and a stop takes seconds at
//! most, whoever still holds a connection.

use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use std::{convert::Infallible, io, net::SocketAddr, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::sleep,
};
use tower::ServiceExt;
use tower_http::timeout::RequestBodyTimeoutLayer;

/// How long the other side may keep us waiting. Answers have no limit: downloads and events take as long as they do.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the whole head of a request, and between two requests on one connection.
    pub head: Duration,
    /// For the next piece of a request's body.
    pub body: Duration,
    /// For open requests after the first signal to stop.
    pub stop: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(60),
            body: Duration::from_secs(30),
            stop: Duration::from_secs(10),
        }
    }
}

/// Answers connections until the first of `signals`; then finishes what is open until it is done, patience ends, or
/// the second signal. `stopping` is called at the first.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    patience: Patience,
    mut signals: mpsc::Receiver<()>,
    stopping: impl FnOnce(),
) {
    let router = router.layer(RequestBodyTimeoutLayer::new(patience.body));
    let open = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = signals.recv() => break,
        };
        match accepted {
            Ok((stream, peer)) => answer(stream, peer, router.clone(), patience, &open),
            Err(error) => pause_after(&error).await,
        }
    }
    drop(listener);
    tracing::info!(connections = open.count(), "Stopping");
    stopping();
    tokio::select! {
        () = open.shutdown() => {}
        () = sleep(patience.stop) => tracing::warn!("Some requests did not end in time and are cut off"),
        _ = signals.recv() => tracing::warn!("Told to stop again: open requests are cut off"),
    }
}

fn answer(stream: TcpStream, peer: SocketAddr, router: Router, patience: Patience, open: &GracefulShutdown) {
    // Small answers are on their way at once; where that cannot be had they come later.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let router = router.clone();
        async move {
            Ok::<_, Infallible>(
                router
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|never| match never {}),
            )
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .serve_connection(TokioIo::new(stream), service);
    let connection = open.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            // A client that goes away in the middle is an everyday thing.
            tracing::debug!(%error, "A connection broke off");
        }
    });
}

/// Out of file descriptors, for one: wait for some to come back instead of spinning.
async fn pause_after(error: &io::Error) {
    let of_the_client = [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
    ];
    if !of_the_client.contains(&error.kind()) {
        tracing::error!(%error, "No connection can be taken: {error}");
        sleep(Duration::from_secs(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::to_bytes, http::StatusCode, routing::post};
    use std::sync::Arc;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::Notify,
        task::JoinHandle,
    };

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(20);
    const PATIENT: Patience = Patience {
        head: LONG,
        body: LONG,
        stop: LONG,
    };

    struct Served {
        address: SocketAddr,
        signal: mpsc::Sender<()>,
        /// A request has come to a handler.
        reached: Arc<Notify>,
        end: JoinHandle<()>,
    }

    async fn start(patience: Patience) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (signal, signals) = mpsc::channel(2);
        let reached = Arc::new(Notify::new());
        let (hang, length) = (reached.clone(), reached.clone());
        let router = Router::new()
            .route(
                "/hang",
                post(move || async move {
                    hang.notify_one();
                    std::future::pending::<()>().await;
                }),
            )
            .route(
                "/length",
                post(move |request: Request<Body>| async move {
                    length.notify_one();
                    match to_bytes(request.into_body(), 1000).await {
                        Ok(body) => Ok(body.len().to_string()),
                        Err(_) => Err(StatusCode::BAD_REQUEST),
                    }
                }),
            );
        let end = tokio::spawn(serve(listener, router, patience, signals, || {}));
        Served {
            address,
            signal,
            reached,
            end,
        }
    }

    impl Served {
        async fn send(&self, text: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream
        }

        /// A request that is not answered, under way.
        async fn hanging(&self) -> TcpStream {
            let stream = self.send("POST /hang HTTP/1.1\r\nhost: x\r\n\r\n").await;
            self.reached.notified().await;
            stream
        }
    }

    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        // A reset is an end like any other here.
        let _ = stream.read_to_string(&mut text).await;
        text
    }

    #[tokio::test]
    async fn a_stop_waits_for_open_requests_no_longer_than_it_is_told_to() {
        let served = start(Patience {
            stop: SHORT,
            ..PATIENT
        })
        .await;
        let _open = served.hanging().await;
        served.signal.send(()).await.unwrap();
        served.end.await.unwrap();
    }

    #[tokio::test]
    async fn a_second_signal_ends_it_at_once() {
        let served = start(PATIENT).await;
        let _open = served.hanging().await;
        for _ in 0..2 {
            served.signal.send(()).await.unwrap();
        }
        served.end.await.unwrap();
    }

    #[tokio::test]
    async fn a_stop_ends_idle_connections_and_answers_what_has_come() {
        let served = start(PATIENT).await;
        let idle = served.send("").await;
        let mut busy = served
            .send("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n")
            .await;
        served.reached.notified().await;
        served.signal.send(()).await.unwrap();
        busy.write_all(b"four").await.unwrap();
        assert!(rest(busy).await.ends_with('4'));
        assert_eq!(rest(idle).await, "");
        served.end.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_never_ends_its_head_is_dropped() {
        let served = start(Patience {
            head: SHORT,
            ..PATIENT
        })
        .await;
        let slow = served.send("POST /length HTTP/1.1\r\nhost: ").await;
        let answer = rest(slow).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn a_client_that_never_ends_its_body_is_refused() {
        let served = start(Patience {
            body: SHORT,
            ..PATIENT
        })
        .await;
        let slow = served
            .send("POST /length HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nfo")
            .await;
        assert!(rest(slow).await.starts_with("HTTP/1.1 4"));
    }
}
