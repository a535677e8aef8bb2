//! Carries out what was decided about the children. Never decides anything itself.

use std::time::Duration;

use json_patch::jsonptr::PointerBuf;
use json_patch::{PatchOperation, ReplaceOperation, TestOperation};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt as _};

use super::Namespaced;
use super::error::Error;
use crate::api::GrpcBackend;
use crate::api::Reason;
use crate::api::conditions::{State, Statement};
use crate::child::{Child, Target};
use crate::endpoint_watch::{self, Access};
use crate::names;
use crate::services::Pair;

const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the two parts say after their writes, and the first error of each.
pub struct Applied {
    /// ServicesReady.
    pub services: Statement,
    /// EndpointWatchReady.
    pub access: Statement,
    /// What went wrong; the other writes were tried all the same.
    pub errors: Vec<Error>,
}

/// Writes both parts. Each object has a field of its own in what was decided, taken apart without `..`: a new one that
/// is forgotten here does not compile.
pub async fn apply(client: &Client, backend: &GrpcBackend, pair: Pair, access: Access) -> Applied {
    let namespace = backend.namespace().unwrap_or_default();
    let writer = Writer {
        client,
        namespace: &namespace,
    };
    let (services, access) = futures::join!(
        apply_pair(&writer, pair),
        apply_access(&writer, backend, access)
    );
    let (services, mut errors) = services;
    let (access, more) = access;
    errors.extend(more);
    Applied {
        services,
        access,
        errors,
    }
}

/// What the two parts say where nothing is written.
pub fn nothing(pair: Pair, access: Access) -> Applied {
    let waits = |statement: Statement, writes: bool| {
        if writes && statement.state == State::True {
            Statement::no(Reason::Pending, "not written while spec.suspend is true")
        } else {
            statement
        }
    };
    let pair_writes = pair.cluster_ip != Child::Leave || pair.headless != Child::Leave;
    let access_writes = access.service_account != Child::Leave
        || access.role != Child::Leave
        || access.role_binding != Child::Leave;
    Applied {
        services: waits(pair.statement, pair_writes),
        access: waits(access.statement, access_writes),
        errors: Vec::new(),
    }
}

async fn apply_pair(writer: &Writer<'_>, pair: Pair) -> (Statement, Vec<Error>) {
    let Pair {
        cluster_ip,
        headless,
        given_up,
        statement,
    } = pair;
    let (first, second) = futures::join!(writer.write(cluster_ip), writer.write(headless));
    let mut errors: Vec<_> = [first.err(), second.err()].into_iter().flatten().collect();
    // What serves goes only when what replaces it is there.
    let replaced = errors.is_empty() && statement.state == State::True;
    for target in given_up.into_iter().filter(|_| replaced) {
        errors.extend(
            writer
                .delete::<k8s_openapi::api::core::v1::Service>(&target)
                .await
                .err(),
        );
    }
    (after(statement, &errors), errors)
}

async fn apply_access(
    writer: &Writer<'_>,
    backend: &GrpcBackend,
    access: Access,
) -> (Statement, Vec<Error>) {
    let Access {
        service_account,
        given_up,
        role,
        role_binding,
        statement,
        waits: _,
    } = access;
    let mut errors = Vec::new();
    errors.extend(writer.write(service_account).await.err());
    for target in given_up {
        errors.extend(writer.delete::<ServiceAccount>(&target).await.err());
    }
    // Binding first where both go: a moment with a binding and no Role is harmless, but so is the other way round.
    let role_is_exact = match writer.write(role).await {
        // Nothing was written: what was observed stands, and it was found to be as wanted.
        Ok(Written::Nothing) => true,
        Ok(Written::Object(role)) => endpoint_watch::is_exact(&role, backend),
        Ok(Written::Gone) => false,
        Err(error) => {
            errors.push(error);
            false
        }
    };
    match role_binding {
        Child::Create(_) | Child::Update(_) if !role_is_exact => {}
        role_binding => errors.extend(writer.write(role_binding).await.err()),
    }
    (after(statement, &errors), errors)
}

/// What was decided does not hold where a write failed: an error that somebody must mend says so, any other is tried again.
fn after(statement: Statement, errors: &[Error]) -> Statement {
    let worst = errors
        .iter()
        .find(|error| error.reason().is_some())
        .or(errors.first());
    let Some(error) = worst else {
        return statement;
    };
    let reason = error.reason().unwrap_or(Reason::Pending);
    Statement::no(reason, error.to_string())
}

/// What a write left behind.
pub enum Written<K> {
    /// No write was needed.
    Nothing,
    /// The object as the API server has it now.
    Object(Box<K>),
    /// The object is going.
    Gone,
}

struct Writer<'a> {
    client: &'a Client,
    namespace: &'a str,
}

impl Writer<'_> {
    async fn write<K: Namespaced>(&self, child: Child<K>) -> Result<Written<K>, Error> {
        let write = async {
            match child {
                Child::Leave => Ok(Written::Nothing),
                Child::Create(object) => self.create(object.as_ref()).await.map(Written::Object),
                Child::Update(object) => self.update(object.as_ref()).await.map(Written::Object),
                Child::Replace(target) | Child::Delete(target) => {
                    self.delete::<K>(&target).await.map(|()| Written::Gone)
                }
                Child::Release(target, patch) => {
                    self.release(&target, patch).await.map(Written::Object)
                }
            }
        };
        tokio::time::timeout(WRITE_TIMEOUT, write)
            .await
            .unwrap_or_else(|_| {
                Err(Error::timeout(
                    format!("writing {}", K::kind(&())),
                    WRITE_TIMEOUT,
                ))
            })
    }

    fn api<K: Namespaced>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    async fn create<K: Namespaced>(&self, object: &K) -> Result<Box<K>, Error> {
        let params = PostParams {
            field_manager: Some(names::MANAGER.into()),
            ..PostParams::default()
        };
        self.api()
            .create(&params, object)
            .await
            .map(Box::new)
            .map_err(|error| {
                Error::from_api(
                    format!("creating {} {}", K::kind(&()), object.name_any()),
                    &error,
                )
            })
    }

    async fn update<K: Namespaced>(&self, object: &K) -> Result<Box<K>, Error> {
        let api = self.api::<K>();
        let name = object.name_any();
        let action = |error: kube::Error| {
            Error::from_api(format!("updating {} {name}", K::kind(&())), &error)
        };
        if let Some(live) = api.get_opt(&name).await.map_err(action)?
            && let Some(patch) = created_becomes_applied(&live)
        {
            api.patch(&name, &PatchParams::default(), &Patch::<()>::Json(patch))
                .await
                .map_err(action)?;
        }
        // Forced: these objects are ours, and the uid in the body makes sure that it is this one.
        let params = PatchParams::apply(names::MANAGER).force();
        api.patch(&name, &params, &Patch::Apply(object))
            .await
            .map(Box::new)
            .map_err(action)
    }

    async fn release<K: Namespaced>(
        &self,
        target: &Target,
        patch: json_patch::Patch,
    ) -> Result<Box<K>, Error> {
        let params = PatchParams {
            field_manager: Some(names::MANAGER.into()),
            ..PatchParams::default()
        };
        let patch = Patch::<()>::Json(patch);
        let released = self.api().patch(&target.name, &params, &patch).await;
        released.map(Box::new).map_err(|error| {
            Error::from_api(
                format!("giving up {} {}", K::kind(&()), target.name),
                &error,
            )
        })
    }

    async fn delete<K: Namespaced>(&self, target: &Target) -> Result<(), Error> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(target.uid.clone()),
                ..Preconditions::default()
            }),
            ..DeleteParams::default()
        };
        match self.api::<K>().delete(&target.name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(Error::from_api(
                format!("deleting {} {}", K::kind(&()), target.name),
                &error,
            )),
        }
    }
}

/// What was created is owned by an "Update" entry, which a server-side apply does not take fields from: a label that is
/// no longer wanted would stay for ever. The entry becomes an "Apply" entry, as kubectl does when it changes over.
fn created_becomes_applied<K: Resource>(live: &K) -> Option<json_patch::Patch> {
    let index = live
        .meta()
        .managed_fields
        .iter()
        .flatten()
        .position(|entry| {
            entry.manager.as_deref() == Some(names::MANAGER)
                && entry.operation.as_deref() == Some("Update")
                && entry.subresource.as_deref().unwrap_or_default().is_empty()
        })?;
    let path = |field: &str| {
        PointerBuf::from_tokens(["metadata", "managedFields", &index.to_string(), field])
    };
    Some(json_patch::Patch(vec![
        PatchOperation::Test(TestOperation {
            path: path("manager"),
            value: names::MANAGER.into(),
        }),
        PatchOperation::Replace(ReplaceOperation {
            path: path("operation"),
            value: "Apply".into(),
        }),
    ]))
}
