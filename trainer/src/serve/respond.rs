//! From a request that was understood to its answer: orders for the engine, and their events as one answer or as
//! server-sent events while they come. Whoever goes away drops the channel, and with it the orders.

use super::{
    Served,
    answer::{Choice, Form, Usage},
    error::Error,
    request::{Prompt, Wanted},
};
use crate::generate::{Event, Order};
use axum::{
    Json,
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use laurel_protocol::FinishReason;
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::Instant,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub async fn to(served: Arc<Served>, wanted: Wanted) -> Result<Response, Error> {
    let adapter = served.find(&wanted.model)?.adapter;
    let bounds = served.live.bounds();
    let n_choices = wanted.prompts.len() * wanted.n as usize;
    if n_choices > bounds.slots + bounds.queue {
        let most = bounds.slots + bounds.queue;
        let reason = format!("asks for {n_choices} completions; this server takes at most {most} at once");
        return Err(Error::field(
            if wanted.prompts.len() > 1 { "prompt" } else { "n" },
            &reason,
        ));
    }
    let (wanted, prompts) = read_prompts(served.clone(), wanted).await?;
    let (sender, events) = unbounded_channel();
    let mut firsts = BTreeMap::new();
    let mut usage = Usage::default();
    for (at, prompt) in prompts.into_iter().enumerate() {
        usage.prompt += prompt.len();
        let order = Order {
            id: 0,
            key: at as u64,
            prompt,
            indexes: (0..wanted.n).collect(),
            sampling: wanted.sampling.clone(),
            adapter,
            streams: true,
            n_top: wanted.logprobs.unwrap_or(0),
        };
        let id = served
            .live
            .submit(order, &sender)
            .map_err(|refused| Error::refused(refused, wanted.kind.prompt_field(), bounds.context))?;
        firsts.insert(id, at * wanted.n as usize);
    }
    // The engine alone sends from here on: when it ends, the channel does.
    drop(sender);
    let coming = Coming {
        events,
        firsts,
        n_left: n_choices,
        usage,
        began: Instant::now(),
        model: wanted.model.clone(),
    };
    let form = Form::new(wanted.kind, &wanted.model, wanted.logprobs, served.texts.clone());
    if wanted.stream {
        return Ok(streamed(form, coming, n_choices, wanted.include_usage));
    }
    whole(&form, coming, n_choices).await
}

/// Token ids of the prompts. Long ones take their time, so that is done beside the threads that answer.
async fn read_prompts(served: Arc<Served>, mut wanted: Wanted) -> Result<(Wanted, Vec<Vec<u32>>), Error> {
    let read = move || {
        let field = wanted.kind.prompt_field();
        let prompts = std::mem::take(&mut wanted.prompts);
        let ids = prompts.into_iter().map(|prompt| served.ids(prompt, field));
        Ok((wanted, ids.collect::<Result<_, _>>()?))
    };
    let done = tokio::task::spawn_blocking(read).await;
    done.unwrap_or_else(|_| {
        Err(Error::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The prompt could not be read",
        ))
    })
}

impl Served {
    fn ids(&self, prompt: Prompt, field: &str) -> Result<Vec<u32>, Error> {
        let ids = match prompt {
            Prompt::Messages(messages) => self.tokenizer.prompt_ids(&messages),
            Prompt::Text(text) => self.tokenizer.plain_text(&text),
            Prompt::Ids(ids) => Ok(ids),
        };
        let ids = ids.map_err(|error| Error::field(field, &format!("cannot be read: {error:#}")))?;
        match ids.iter().find(|&&id| id as usize >= self.vocab) {
            Some(id) => {
                let reason = format!("has the token {id}, but the vocabulary has {} tokens", self.vocab);
                Err(Error::field(field, &reason))
            }
            None => Ok(ids),
        }
    }
}

/// The events of a request's orders.
struct Coming {
    events: UnboundedReceiver<Event>,
    /// The first choice of each order.
    firsts: BTreeMap<u64, usize>,
    /// Choices that have not ended.
    n_left: usize,
    usage: Usage,
    began: Instant,
    model: String,
}

enum Happened {
    Piece(usize, crate::generate::Piece),
    End(usize, FinishReason),
}

impl Coming {
    /// What happens next; nothing when all choices have ended.
    async fn next(&mut self) -> Option<Result<Happened, Error>> {
        while self.n_left > 0 {
            match self.events.recv().await {
                None => return Some(Err(Error::ending())),
                Some(Event::Begun { .. }) => {}
                Some(Event::Piece { order, index, piece }) => {
                    return Some(Ok(Happened::Piece(self.firsts[&order] + index as usize, piece)));
                }
                Some(Event::Finished { order, completion }) => {
                    self.n_left -= 1;
                    self.usage.completion += completion.ids.len();
                    let index = self.firsts[&order] + completion.index as usize;
                    return Some(Ok(Happened::End(index, completion.reason)));
                }
                Some(Event::Failed { error, .. }) => {
                    tracing::error!(model = self.model, "A completion failed: {error}");
                    return Some(Err(Error::new(StatusCode::INTERNAL_SERVER_ERROR, error)));
                }
            }
        }
        let seconds = self.began.elapsed().as_secs_f64();
        let Usage { prompt, completion } = self.usage;
        tracing::info!(
            model = self.model,
            prompt_tokens = prompt,
            completion_tokens = completion,
            seconds = (seconds * 100.0).round() / 100.0,
            "Completed a request"
        );
        None
    }
}

async fn whole(form: &Form, mut coming: Coming, n_choices: usize) -> Result<Response, Error> {
    let mut choices = vec![Choice::default(); n_choices];
    while let Some(happened) = coming.next().await {
        match happened? {
            Happened::Piece(index, piece) => {
                let all = &mut choices[index].piece;
                all.text.push_str(&piece.text);
                all.tokens.extend(piece.tokens);
            }
            Happened::End(index, reason) => choices[index].reason = Some(reason),
        }
    }
    Ok(Json(form.whole(&choices, coming.usage)).into_response())
}

fn streamed(form: Form, coming: Coming, n_choices: usize, include_usage: bool) -> Response {
    let opening = (0..n_choices).filter_map(|index| form.opening(index));
    let state = Chunks {
        ready: opening.map(|chunk| event(&chunk)).collect(),
        form,
        coming: Some(coming),
        include_usage,
    };
    let chunks = stream::unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Some((Ok::<_, Infallible>(chunk), state))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Body::from_stream(chunks)).into_response()
}

struct Chunks {
    form: Form,
    /// None when the last chunk is ready.
    coming: Option<Coming>,
    ready: VecDeque<String>,
    include_usage: bool,
}

impl Chunks {
    async fn next(&mut self) -> Option<String> {
        if let Some(chunk) = self.ready.pop_front() {
            return Some(chunk);
        }
        let mut coming = self.coming.take()?;
        let chunk = match coming.next().await {
            Some(Ok(Happened::Piece(index, piece))) => self.form.piece(index, &piece),
            Some(Ok(Happened::End(index, reason))) => self.form.end(index, reason),
            // The status is sent already; OpenAI's client takes this for what it is.
            Some(Err(error)) => return Some(event(&error.body())),
            None => {
                if self.include_usage {
                    self.ready.push_back(event(&self.form.usage(coming.usage)));
                }
                self.ready.push_back("data: [DONE]\n\n".into());
                return self.ready.pop_front();
            }
        };
        self.coming = Some(coming);
        Some(event(&chunk))
    }
}

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}
