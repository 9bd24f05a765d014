//! The graph as a picture: nodes that are links, edges from what was to what followed. The arrow keys go along the edges.

use super::{
    Chosen,
    layout::{Flow, Graph, MOST_ACROSS, Node, Places},
    names::Names,
};
use crate::words::t;
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;
use std::{collections::BTreeSet, sync::Arc};
use wasm_bindgen::JsCast;

const WIDTH: usize = 190;
const HEIGHT: usize = 44;
const ACROSS: usize = 210;
const DOWN: usize = 84;
const MARGIN: usize = 8;

pub fn view(graph: Arc<Graph>, names: Arc<Names>, chosen: Chosen) -> AnyView {
    let places = Arc::new(graph.places());
    let n_rows = places.values().map(|(row, _)| row + 1).max().unwrap_or(0);
    let n_across = places
        .values()
        .map(|(_, column)| column + 1)
        .max()
        .unwrap_or(1)
        .min(MOST_ACROSS);
    let (width, height) = (n_across * ACROSS, n_rows * DOWN + MARGIN);
    let near = {
        let graph = graph.clone();
        Memo::new(move |_| chosen.get().map(|node| graph.around(node)))
    };
    let edges = graph
        .edges
        .iter()
        .filter_map(|edge| {
            let ends = (*places.get(&edge.from)?, *places.get(&edge.to)?);
            let (from, to) = (edge.from, edge.to);
            let is_far = move || is_far(near, |near| near.contains(&from) && near.contains(&to));
            Some(view! { <path class=edge_class(edge.flow) class:is-far=is_far d=curve(ends)></path> })
        })
        .collect_view();
    let first = graph.nodes.first().copied();
    let nodes = graph
        .nodes
        .iter()
        .filter_map(|node| Some(shape(*node, *places.get(node)?, &names, (chosen, near, first))))
        .collect_view();
    let keys = keys(graph, places, chosen);
    view! {
        <div class="lineage-frame">
            <svg
                class="lineage"
                width=width.to_string()
                height=height.to_string()
                viewBox=format!("0 0 {width} {height}")
                role="group"
                aria-label=t("Graph of the lineage. The arrow keys go along it.")
                on:keydown=keys
                data-test="lineage-graph"
            >
                <g aria-hidden="true">{edges}</g>
                {nodes}
            </svg>
        </div>
    }
    .into_any()
}

type Near = Memo<Option<BTreeSet<Node>>>;

/// Whether something is none of what belongs to the chosen node.
fn is_far(near: Near, holds: impl Fn(&BTreeSet<Node>) -> bool) -> bool {
    near.with(|near| near.as_ref().is_some_and(|near| !holds(near)))
}

fn edge_class(flow: Flow) -> &'static str {
    match flow {
        Flow::Answers => "lineage-edge lineage-answers",
        Flow::Rows => "lineage-edge lineage-rows",
        Flow::Start => "lineage-edge lineage-start",
        Flow::Reward => "lineage-edge lineage-reward",
    }
}

fn corner((row, column): (usize, usize)) -> (usize, usize) {
    (column * ACROSS + MARGIN, row * DOWN + MARGIN)
}

/// From the lower side of one node to the upper side of another.
fn curve((from, to): ((usize, usize), (usize, usize))) -> String {
    let ((x, y), (u, v)) = (corner(from), corner(to));
    let (x, u, y) = (x + WIDTH / 2, u + WIDTH / 2, y + HEIGHT);
    let half = (v - y) / 2;
    format!("M{x} {y}C{x} {},{u} {},{u} {v}", y + half, v - half)
}

fn shape(
    node: Node,
    place: (usize, usize),
    names: &Names,
    (chosen, near, first): (Chosen, Near, Option<Node>),
) -> AnyView {
    let (x, y) = corner(place);
    let name = names.of(node);
    let is_far = move || is_far(near, |near| near.contains(&node));
    // One stop of the Tab key for the whole picture: the arrow keys go on from there.
    let stop = move || {
        if chosen.get().or(first) == Some(node) {
            "0"
        } else {
            "-1"
        }
    };
    let navigate = use_navigate();
    let href = name.href.clone();
    let go = move |event: leptos::ev::MouseEvent| {
        event.prevent_default();
        navigate(&href, Default::default());
    };
    // The group tells the macro that the link is SVG's own.
    view! {
        <g>
            <a
                id=id_of(node)
                class=name.class
                class:is-far=is_far
                href=name.href
                tabindex=stop
                data-test="lineage-node"
                on:focus=move |_| chosen.set(Some(node))
                on:click=go
            >
                <rect x=x.to_string() y=y.to_string() width=WIDTH.to_string() height=HEIGHT.to_string() rx="8"></rect>
                <text x=(x + 10).to_string() y=(y + 18).to_string() class="lineage-name">{name.short}" "</text>
                <text x=(x + 10).to_string() y=(y + 35).to_string() class="lineage-fine">{name.fine}</text>
            </a>
        </g>
    }
    .into_any()
}

fn id_of(node: Node) -> String {
    match node {
        Node::Completions(id) => format!("node-completions-{id}"),
        Node::Snapshot(id) => format!("node-snapshot-{id}"),
        Node::Round(id) => format!("node-round-{id}"),
    }
}

fn keys(graph: Arc<Graph>, places: Arc<Places>, chosen: Chosen) -> impl Fn(leptos::ev::KeyboardEvent) {
    move |event| {
        let Some(now) = chosen.get_untracked().or(graph.nodes.first().copied()) else {
            return;
        };
        let Some(next) = next(&graph, &places, now, &event.key()) else {
            return;
        };
        event.prevent_default();
        let element = document().get_element_by_id(&id_of(next));
        if let Some(element) = element.and_then(|found| found.dyn_into::<web_sys::SvgElement>().ok()) {
            // Its focus chooses it.
            let _ = element.focus();
        }
    }
}

/// Up to what the node follows from, down to what follows from it, left and right to its neighbours.
fn next(graph: &Graph, places: &Places, now: Node, key: &str) -> Option<Node> {
    let (row, column) = *places.get(&now)?;
    let beside = |column: usize| {
        places
            .iter()
            .find(|(_, place)| **place == (row, column))
            .map(|(node, _)| *node)
    };
    match key {
        "ArrowUp" => graph
            .edges
            .iter()
            .find(|edge| edge.to == now)
            .map(|edge| edge.from),
        "ArrowDown" => graph
            .edges
            .iter()
            .find(|edge| edge.from == now)
            .map(|edge| edge.to),
        "ArrowLeft" => beside(column.checked_sub(1)?),
        "ArrowRight" => beside(column + 1),
        "Home" => graph.nodes.first().copied(),
        "End" => graph.nodes.last().copied(),
        _ => None,
    }
}
