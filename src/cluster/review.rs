//! Reviews of a user: whose token it is, and what the user may do.

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};

/// The user of a token; none if the API server does not accept the token, or accepts it for none of the audiences. Without
/// audiences, the token must be for the API server.
///
/// # Errors
/// Fails if the API server does not answer, or does not let this process create reviews.
pub async fn authenticate(
    client: &Client,
    token: &str,
    audiences: &[String],
) -> kube::Result<Option<UserInfo>> {
    let expected = (!audiences.is_empty()).then(|| audiences.to_vec());
    let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: expected };
    let review = TokenReview { spec, ..TokenReview::default() };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    let status = answer.status.unwrap_or_default();
    // An API server whose authenticator does not know audiences returns none: then the token may be for another audience.
    let accepted = status.audiences.unwrap_or_default();
    let fits = audiences.is_empty() || audiences.iter().any(|audience| accepted.contains(audience));
    let is_authenticated = status.authenticated == Some(true) && fits;
    Ok(if is_authenticated { status.user } else { None })
}

/// Whether the user may access a path of an API server that is no resource.
///
/// # Errors
/// Fails if the API server does not answer, or does not let this process create reviews.
pub async fn may_access(client: &Client, user: UserInfo, path: &str, verb: &str) -> kube::Result<bool> {
    let access = NonResourceAttributes { path: Some(path.to_owned()), verb: Some(verb.to_owned()) };
    let UserInfo { username, uid, groups, extra } = user;
    let spec = SubjectAccessReviewSpec {
        user: username,
        uid,
        groups,
        extra,
        non_resource_attributes: Some(access),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
}
