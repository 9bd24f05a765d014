//! What stands around every page.

use crate::components::toast::toast_area;
use leptos::prelude::*;

#[component]
pub fn Shell(children: Children) -> impl IntoView {
    view! {
        <main id="main">{children()}</main>
        {toast_area()}
    }
}
