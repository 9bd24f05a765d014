//! One adapter: what it was made of, its card, what is downloaded of it, and taking its files away.

use crate::{
    adapter_files, card, clock,
    error::Failure,
    extract::{Body, Path, Query},
    guards::Admin,
    state::AppState,
    store::{
        lineage::{self, Kit},
        merges,
    },
    tar::{self, Entry},
};
use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use laurel_protocol::{
    Adapter, AdapterFacts, AdapterId, ApiError, ErrorCode, Merge, NewMerge, RoundSpec, Template, file_part,
};
use serde::{Deserialize, Serialize};

/// An adapter with everything that made it and everything that uses it.
#[utoipa::path(get, path = "/adapters/{id}", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = AdapterFacts)))]
pub async fn get(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<AdapterId>,
) -> Result<Json<AdapterFacts>, Failure> {
    Ok(Json(lineage::facts(&app.db, id).await?))
}

/// The model card, as the README.md of a repository on the Hugging Face hub.
#[utoipa::path(get, path = "/adapters/{id}/card", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = String, content_type = "text/markdown")))]
pub async fn get_card(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<AdapterId>,
) -> Result<Response, Failure> {
    let facts = lineage::facts(&app.db, id).await?;
    let kind = (header::CONTENT_TYPE, "text/markdown; charset=utf-8");
    Ok(([kind], card::card(&facts)).into_response())
}

/// What its round is told to make it again: the kit's spec.json alone.
#[utoipa::path(get, path = "/adapters/{id}/spec", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = String, content_type = "application/json")))]
pub async fn spec(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<AdapterId>,
) -> Result<Response, Failure> {
    let kit = lineage::kit(&app.db, id).await?;
    let mut response = ([(header::CONTENT_TYPE, "application/json")], spec_file(&kit)?).into_response();
    let save = HeaderValue::from_static("attachment; filename=\"spec.json\"");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, save);
    Ok(response)
}

/// PEFT's files and the card as one archive.
#[utoipa::path(get, path = "/adapters/{id}/archive", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/x-tar"), (status = 409, body = ApiError)))]
pub async fn archive(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<AdapterId>,
) -> Result<Response, Failure> {
    let facts = lineage::facts(&app.db, id).await?;
    let folder = file_part(&facts.adapter.name);
    let mut entries = files(&app, &facts.adapter, &folder).await?;
    entries.push(Entry::text(format!("{folder}/README.md"), card::card(&facts)));
    Ok(tar::answer(
        &format!("{folder}.tar"),
        entries,
        facts.adapter.created_at,
    ))
}

/// All that makes the same weights again: the spec, the rows, and the adapters that the round used.
#[utoipa::path(get, path = "/adapters/{id}/kit", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/x-tar"), (status = 409, body = ApiError)))]
pub async fn kit(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<AdapterId>,
) -> Result<Response, Failure> {
    let kit = lineage::kit(&app.db, id).await?;
    let folder = format!("{}-again", file_part(&kit.facts.adapter.name));
    let mut entries = vec![
        Entry::text(format!("{folder}/HOW_TO.md"), how_to(&kit.facts)),
        Entry::text(format!("{folder}/spec.json"), spec_file(&kit)?),
        Entry::rows(format!("{folder}/{ROWS}"), &app.db, kit.facts.snapshot.id).await?,
    ];
    for (adapter, name) in [(&kit.start, START), (&kit.reward, REWARD)] {
        if let Some(adapter) = adapter {
            entries.extend(files(&app, adapter, &format!("{folder}/{name}")).await?);
        }
    }
    Ok(tar::answer(
        &format!("{folder}.tar"),
        entries,
        kit.facts.adapter.created_at,
    ))
}

const ROWS: &str = "rows.jsonl";
const START: &str = "starting-adapter";
const REWARD: &str = "reward-adapter";

/// An adapter's files on the disk, for the archive's `folder`.
async fn files(app: &AppState, adapter: &Adapter, folder: &str) -> Result<Vec<Entry>, Failure> {
    if adapter.deleted_at.is_some() {
        let detail = "This adapter's files were deleted: run its round again, its kit says how.";
        return Err(Failure::new(ErrorCode::Conflict, detail));
    }
    let mut entries = Vec::new();
    for name in adapter
        .files
        .iter()
        .filter_map(|name| adapter_files::known_name(name))
    {
        if name == adapter_files::README {
            continue; // the card stands in its place
        }
        let path = adapter_files::path(&app.settings.data, &adapter.hash, name);
        let entry = Entry::file(format!("{folder}/{name}"), path).await;
        entries.push(entry.map_err(Failure::internal)?);
    }
    Ok(entries)
}

/// The file that `laurel-trainer round` reads.
#[derive(Serialize)]
struct SpecFile<'a> {
    #[serde(flatten)]
    spec: &'a RoundSpec,
    model: String,
    data: &'static str,
    template: &'a Template,
    #[serde(skip_serializing_if = "Option::is_none")]
    starting_adapter: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reward_adapter: Option<&'static str>,
}

/// Where the base model is to lie: beside the spec, unless its name is one of the hub's.
fn model_place(base_model: &str) -> String {
    match base_model.contains('/') {
        true => base_model.to_owned(),
        false => format!("base-model-{}", file_part(base_model)),
    }
}

fn spec_file(kit: &Kit) -> Result<String, Failure> {
    let file = SpecFile {
        spec: &kit.facts.spec,
        model: model_place(&kit.facts.base_model),
        data: ROWS,
        template: &kit.facts.template,
        starting_adapter: kit.start.as_ref().map(|_| START),
        reward_adapter: kit.reward.as_ref().map(|_| REWARD),
    };
    let text = serde_json::to_string_pretty(&file).map_err(Failure::internal)?;
    Ok(text + "\n")
}

fn how_to(facts: &AdapterFacts) -> String {
    let unknown = || "not recorded".to_owned();
    format!(
        "# {} once more\n\n\
         1. Put the base model `{base}` here as `{place}` (a link will do): the GGUF file or the folder that the trainer had. \
         A name with a slash is fetched from the Hugging Face hub.\n\
         2. Run `{}`.\n\
         3. `again/adapter/adapter_model.safetensors` has the SHA-256 `{}`.\n\n\
         On the CPU the weights are the same bit for bit with the same code on a machine of the same kind, on a GPU nearly. \
         It was made by trainer {} on {}.\n\
         `again/adapter/made_with.json` names what it was made with: the base weights must be `{}`, the template `{}`.\n\
         The rows, `{ROWS}`, have the SHA-256 `{}`.\n",
        facts.adapter.name.replace(['\n', '\r'], " "),
        facts.command,
        facts.adapter.hash,
        facts.trainer_code.clone().unwrap_or_else(unknown),
        facts.worker.clone().unwrap_or_else(unknown),
        facts.adapter.base_weights_hash.clone().unwrap_or_else(unknown),
        facts.adapter.template_hash.clone().unwrap_or_else(unknown),
        facts.snapshot.hash,
        base = facts.base_model,
        place = model_place(&facts.base_model),
    )
}

#[derive(Deserialize)]
pub struct Confirmed {
    #[serde(default)]
    confirmed: bool,
}

/// Takes an adapter's files away; what it was made of stays. What needs them stands against it; what has used them is named
/// first.
#[utoipa::path(delete, path = "/adapters/{id}", tag = "rounds",
    params(("id" = i64, Path), ("confirmed" = Option<bool>, Query)),
    responses((status = 200, body = AdapterFacts), (status = 409, body = ApiError)))]
pub async fn delete(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<AdapterId>,
    Query(how): Query<Confirmed>,
) -> Result<Json<AdapterFacts>, Failure> {
    // A request that is cut off leaves it whole.
    let done = tokio::spawn(async move {
        let _files = adapter_files::CHANGE.lock().await;
        let now = clock::now();
        let unused = lineage::delete_adapter(&app.db, id, how.confirmed, admin.person(), now).await?;
        if let Some(hash) = unused {
            let data = app.settings.data.clone();
            let gone = tokio::task::spawn_blocking(move || adapter_files::remove(&data, &hash)).await;
            // What stays is taken away at the next start.
            gone.map_err(Failure::internal)?.map_err(Failure::internal)?;
        }
        Ok(Json(lineage::facts(&app.db, id).await?))
    });
    done.await.map_err(Failure::internal)?
}

/// Merges of an adapter, newest first.
#[utoipa::path(get, path = "/adapters/{id}/merges", tag = "rounds", params(("id" = i64, Path)),
    responses((status = 200, body = [Merge])))]
pub async fn list_merges(
    State(app): State<AppState>,
    _: Admin,
    Path(id): Path<AdapterId>,
) -> Result<Json<Vec<Merge>>, Failure> {
    Ok(Json(merges::list(&app.db, id).await?))
}

/// Has a trainer put the adapter into its base model.
#[utoipa::path(post, path = "/adapters/{id}/merges", tag = "rounds", params(("id" = i64, Path)),
    request_body = NewMerge,
    responses((status = 200, body = Merge), (status = 409, body = ApiError), (status = 422, body = ApiError)))]
pub async fn merge(
    State(app): State<AppState>,
    Admin(admin): Admin,
    Path(id): Path<AdapterId>,
    Body(new): Body<NewMerge>,
) -> Result<Json<Merge>, Failure> {
    let merge = merges::create(&app.db, id, new, admin.person(), clock::now()).await?;
    app.events.work_arrived();
    app.events.counts(merge.project_id);
    Ok(Json(merge))
}
