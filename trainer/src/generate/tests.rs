//! The engines over tiny models: what a completion depends on, and what it does not.

use super::*;
use crate::{
    adapters::Adapter,
    data::{Tokenizer, tokenizer::tests::of_bytes},
    model::{Family, Model, tiny},
    rng::Rng,
    rounds::cli::id_logps,
};
use candle_core::quantized::GgmlDType;
use laurel_protocol::{
    FinishReason, Sampling,
    adapter::{AdapterConfig, LoraConfig},
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

fn complete(engine: &Engine, requests: Vec<Request>) -> Vec<Finished> {
    let mut all = Vec::new();
    engine
        .run(requests, &mut |finished| {
            all.push(finished);
            Ok(true)
        })
        .unwrap();
    all.sort_by_key(|finished| (finished.key, finished.index));
    all
}

fn request(key: u64, indexes: std::ops::Range<u32>) -> Request {
    Request {
        key,
        prompt: vec![1 + key as u32, 5, 9],
        indexes: indexes.collect(),
    }
}

fn sampling() -> Sampling {
    Sampling {
        temperature: 1.0,
        top_p: 1.0,
        max_tokens: 12,
        seed: 3,
        ..Sampling::default()
    }
}

#[test]
fn a_completion_does_not_depend_on_what_else_is_in_the_batch() {
    let engine = Engine::new(&tiny::model(0), None, &sampling(), &[2]).unwrap();
    let together = complete(&engine, (0..7).map(|key| request(key, 0..5)).collect());
    assert_eq!(together.len(), 35);
    let alone = complete(&engine, vec![request(3, 2..3)]);
    let same = together.iter().find(|it| (it.key, it.index) == (3, 2)).unwrap();
    assert_eq!(alone[0].ids, same.ids);
}

#[test]
fn sampled_log_probabilities_agree_with_the_training_forward() {
    let ia3 = AdapterConfig::ia3();
    let families = Family::ALL.map(|family| (tiny::of(family, 0), AdapterConfig::default()));
    let dora = AdapterConfig::Lora(LoraConfig {
        use_dora: true,
        ..LoraConfig::default()
    });
    // With biases, and with fused layers.
    let others = [ia3.clone(), dora.clone()].into_iter().flat_map(|config| {
        let models = [tiny::biased_model(0), tiny::of(Family::Phi3, 0)];
        models.map(|model| (model, config.clone()))
    });
    // Held in blocks, the adapter is computed beside the base instead of merged into it.
    let blocks = |model: Model| model.held(&|matrix| matrix.quantise(GgmlDType::F16).unwrap());
    let held = [AdapterConfig::default(), ia3, dora].map(|config| (blocks(tiny::biased_model(0)), config));
    let fused = (blocks(tiny::of(Family::Phi3, 0)), AdapterConfig::default());
    for (model, config) in families.into_iter().chain(others).chain(held).chain([fused]) {
        let adapter = Adapter::init(&config, &model, &Rng::new(1)).unwrap();
        tiny::disturb(&adapter, 0.2);
        let engine = Engine::new(&model, Some(&adapter), &sampling(), &[]).unwrap();
        for done in complete(&engine, vec![request(0, 0..3)]) {
            assert_eq!((done.ids.len(), done.reason), (12, FinishReason::Length));
            let ids = [vec![1, 5, 9], done.ids.clone()].concat();
            let expected = id_logps(&model, Some(&adapter), &ids, 3).unwrap();
            assert_eq!(done.logprobs.len(), expected.len());
            for (sampled, trained) in done.logprobs.iter().zip(expected) {
                let family = model.config.family;
                assert!(
                    (sampled - trained).abs() < 1e-3,
                    "{family:?}: {sampled} against {trained}"
                );
            }
        }
    }
}

/// An adapter that changes something.
fn adapter(config: &AdapterConfig, model: &Model, seed: u64) -> Adapter {
    let adapter = Adapter::init(config, model, &Rng::new(seed)).unwrap();
    tiny::disturb(&adapter, 0.5);
    adapter
}

/// A model whose tokens are bytes: its first 40 have a text.
fn letters() -> (Model, Tokenizer) {
    (tiny::model(0), of_bytes(&[]))
}

fn order(index: u32, sampling: Sampling, adapter: Option<usize>) -> Order {
    Order {
        id: 0,
        key: 0,
        prompt: vec![3, 5, 9],
        indexes: vec![index],
        sampling,
        adapter,
        streams: true,
        n_top: 2,
    }
}

fn bounds() -> Bounds {
    Bounds {
        slots: 4,
        queue: 60,
        context: 64,
    }
}

fn submit(live: &Live, order: Order) -> Result<UnboundedReceiver<Event>, Refused> {
    let (sender, receiver) = unbounded_channel();
    live.submit(order, &sender)?;
    Ok(receiver)
}

/// What was told piece by piece, and the completion.
fn hear(mut events: UnboundedReceiver<Event>) -> (Vec<Piece>, Finished) {
    let mut pieces = Vec::new();
    while let Some(event) = events.blocking_recv() {
        match event {
            Event::Begun { .. } => {}
            Event::Piece { piece, .. } => pieces.push(piece),
            Event::Finished { completion, .. } => return (pieces, completion),
            Event::Failed { error, .. } => panic!("{error}"),
        }
    }
    panic!("the engine ended")
}

#[test]
fn orders_with_their_own_adapters_and_settings_get_what_each_gets_alone() {
    let (model, tokenizer) = letters();
    let dora = AdapterConfig::Lora(LoraConfig {
        use_dora: true,
        ..LoraConfig::default()
    });
    let all = [AdapterConfig::default(), dora, AdapterConfig::ia3()];
    let adapters: Vec<Adapter> = all
        .iter()
        .zip(1..)
        .map(|(it, seed)| adapter(it, &model, seed))
        .collect();
    let adapters: Vec<&Adapter> = adapters.iter().collect();
    let settings = |n: usize| Sampling {
        temperature: [1.0, 0.7][n % 2],
        top_k: [0, 5, 7][n % 3],
        repetition_penalty: [1.0, 1.3][n / 2 % 2],
        seed: n as u64,
        ..sampling()
    };
    let orders: Vec<Order> = (0..24)
        .map(|n| order(n as u32, settings(n), [None, Some(0), Some(1), Some(2)][n % 4]))
        .collect();
    let together = Live::start(&model, &adapters, &tokenizer, bounds()).unwrap();
    let heard: Vec<_> = orders
        .iter()
        .map(|order| submit(&together, order.clone()).unwrap())
        .collect();
    let heard: Vec<_> = heard.into_iter().map(hear).collect();
    let mut texts = std::collections::BTreeSet::new();
    for (order, (pieces, completion)) in orders.iter().zip(heard) {
        let alone = Live::start(&model, &adapters, &tokenizer, bounds()).unwrap();
        assert_eq!(
            hear(submit(&alone, order.clone()).unwrap()),
            (pieces, completion.clone())
        );
        // The log-probabilities are those of the adapter that was asked for.
        let ids = [order.prompt.clone(), completion.ids].concat();
        let expected = id_logps(&model, order.adapter.map(|at| adapters[at]), &ids, 3).unwrap();
        for (sampled, trained) in completion.logprobs.iter().zip(expected) {
            assert!(
                (sampled - trained).abs() < 1e-3,
                "{order:?}: {sampled} against {trained}"
            );
        }
        texts.insert(ids);
    }
    assert!(texts.len() > 12, "they are not all the same");
}

#[test]
fn pieces_are_the_completion_and_the_likeliest_tokens_are_in_order() {
    let (model, tokenizer) = letters();
    let live = Live::start(&model, &[], &tokenizer, bounds()).unwrap();
    let (pieces, completion) = hear(submit(&live, order(0, sampling(), None)).unwrap());
    let told: Vec<&PieceToken> = pieces.iter().flat_map(|piece| &piece.tokens).collect();
    let ids: Vec<u32> = told.iter().map(|token| token.id).collect();
    assert_eq!(ids, completion.ids);
    let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
    assert_eq!(text, tokenizer.decode(&ids).unwrap());
    for (token, logprob) in told.iter().zip(&completion.logprobs) {
        assert_eq!(token.logprob, *logprob);
        let [first, second] = token.top.as_slice() else {
            panic!("two were asked for: {token:?}")
        };
        assert!(first.1 >= second.1 && first.1 >= token.logprob);
        assert!(first.0 != token.id || first.1 == token.logprob);
    }
}

#[test]
fn a_stop_text_ends_the_completion_and_cuts_its_tokens() {
    let (model, tokenizer) = letters();
    let complete_with = |stop: &[&str]| {
        let stop = stop.iter().map(|&stop| stop.to_owned()).collect();
        let sampling = Sampling { stop, ..sampling() };
        let engine = Engine::new(&model, None, &sampling, &[])
            .unwrap()
            .reading(&tokenizer);
        complete(&engine, vec![request(0, 0..1)]).remove(0)
    };
    let whole = complete_with(&[]);
    let text = whole.text(&tokenizer).unwrap();
    assert_eq!(text.len(), 12, "a letter for each token: {text}");
    let stopped = complete_with(&[&text[5..7]]);
    let at = text.find(&text[5..7]).unwrap();
    assert_eq!((stopped.reason, stopped.end), (FinishReason::Stop, None));
    assert_eq!(stopped.text(&tokenizer).unwrap(), text[..at]);
    assert_eq!(
        (&stopped.ids[..], &stopped.logprobs[..]),
        (&whole.ids[..at], &whole.logprobs[..at])
    );
    assert_eq!(
        complete_with(&["no such text"]),
        whole,
        "one that is never met changes nothing"
    );
    let without = Engine::new(
        &model,
        None,
        &Sampling {
            stop: vec!["a".into()],
            ..sampling()
        },
        &[],
    )
    .unwrap();
    assert!(without.run(vec![request(0, 0..1)], &mut |_| Ok(true)).is_err());
}

#[test]
fn an_order_that_nobody_hears_frees_its_place_and_bounds_are_kept() {
    let (model, tokenizer) = letters();
    let narrow = Bounds {
        slots: 1,
        queue: 1,
        context: 64,
    };
    let live = Live::start(&model, &[], &tokenizer, narrow).unwrap();
    let endless = Sampling {
        max_tokens: u32::MAX,
        ..sampling()
    };
    let first = submit(&live, order(0, endless.clone(), None)).unwrap();
    let second = submit(&live, order(1, endless.clone(), None)).unwrap();
    assert_eq!(
        submit(&live, order(2, endless.clone(), None)).err(),
        Some(Refused::Full)
    );
    drop(first);
    let (_, completion) = hear(second);
    // It ends where the context does: 3 tokens were the prompt's.
    assert_eq!(
        (completion.ids.len(), completion.reason),
        (61, FinishReason::Length)
    );
    let long = Order {
        prompt: vec![1; 64],
        ..order(0, sampling(), None)
    };
    assert_eq!(submit(&live, long).err(), Some(Refused::TooLong { n_tokens: 64 }));
    let empty = Order {
        prompt: Vec::new(),
        ..order(0, sampling(), None)
    };
    assert_eq!(submit(&live, empty).err(), Some(Refused::Empty));
    let last = submit(&live, order(3, endless.clone(), None)).unwrap();
    live.drain();
    assert_eq!(
        submit(&live, order(4, endless, None)).err(),
        Some(Refused::Closing)
    );
    assert_eq!(hear(last).1.ids.len(), 61, "what was taken is done");
}

#[test]
fn a_long_prompt_read_in_pieces_is_read_as_a_whole() {
    let model = tiny::model(0);
    let prompt: Vec<u32> = (0..250).map(|n| n * 7 % 40).collect();
    let request = Request {
        key: 0,
        prompt: prompt.clone(),
        indexes: vec![0],
    };
    let engine = Engine::new(&model, None, &sampling(), &[]).unwrap();
    let done = complete(&engine, vec![request]).remove(0);
    // The context ends first.
    assert_eq!((done.ids.len(), done.reason), (5, FinishReason::Length));
    let expected = id_logps(&model, None, &[prompt, done.ids].concat(), 250).unwrap();
    for (sampled, trained) in done.logprobs.iter().zip(expected) {
        assert!((sampled - trained).abs() < 1e-3, "{sampled} against {trained}");
    }
}
