//! How many requests a client has sent, by method and by how they were answered: what `rest_client_requests_total` tells.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::{Method, Request, Response};
use tower::{Layer, Service};

/// Counts of one client. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    host: String,
    counts: Mutex<BTreeMap<(&'static str, Option<u16>), u64>>,
}

impl Requests {
    /// Of a client of the server at `host`, with its port.
    pub(crate) fn to(host: String) -> Self {
        Self(Arc::new(Shared { host, counts: Mutex::default() }))
    }

    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// Method, status (`None` where no answer came) and number of requests, in their order.
    pub fn counts(&self) -> Vec<(&'static str, Option<u16>, u64)> {
        let counts = self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|((method, status), count)| (*method, *status, *count)).collect()
    }

    fn add(&self, method: &'static str, status: Option<u16>) {
        *self.0.counts.lock().unwrap_or_else(PoisonError::into_inner).entry((method, status)).or_default() += 1;
    }
}

impl<S> Layer<S> for Requests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, requests: self.clone() }
    }
}

/// A transport whose requests are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    requests: Requests,
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (method, requests) = (name(request.method()), self.requests.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            requests.add(method, answer.as_ref().ok().map(|answer| answer.status().as_u16()));
            answer
        })
    }
}

const fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test]
    async fn requests_count_by_method_and_answer() {
        let requests = Requests::to("10.0.0.1:6443".to_owned());
        let answer = |request: Request<u16>| async move {
            let status = request.into_body();
            if status == 0 { Err("no answer") } else { Ok(Response::builder().status(status).body(()).unwrap()) }
        };
        for (method, status) in [(Method::GET, 200), (Method::GET, 200), (Method::GET, 0), (Method::PATCH, 404)] {
            let request = Request::builder().method(method).body(status).unwrap();
            let _ = requests.layer(service_fn(answer)).oneshot(request).await;
        }
        assert_eq!(requests.counts(), [("GET", None, 1), ("GET", Some(200), 2), ("PATCH", Some(404), 1)]);
        assert_eq!(requests.host(), "10.0.0.1:6443");
    }
}
