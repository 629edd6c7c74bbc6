//! Records as people name them.

use super::{Exit, Failure};
use crate::catalog::{Catalog, KeyType, UuidStorage};
use crate::model::{EntityName, Key, RecordId, Tenant};

/// `customer:4711`, or `tenant/customer:4711`: what [`RecordId`] prints.
pub fn parse(text: &str) -> Result<RecordId, Failure> {
    let wrong =
        || Failure::other(Exit::Usage, format!("`{text}` is not a record; write ENTITY:KEY, such as customer:4711"));
    let (entity, key) = text.split_once(':').ok_or_else(wrong)?;
    let (tenant, entity) = entity.split_once('/').unwrap_or(("", entity));
    if entity.is_empty() || key.is_empty() {
        return Err(wrong());
    }
    Ok(RecordId { tenant: Tenant::from(tenant), entity: EntityName::from(entity), key: Key::from(key) })
}

/// With its key as the database names it: a UUID may be written in capitals, in braces or without hyphens. Where UUIDs are
/// kept as text, the text is compared as it stands.
pub fn in_catalog(record: RecordId, catalog: &Catalog) -> RecordId {
    let key_type = catalog.entity(&record.entity).map(|entity| &entity.key_type);
    let as_value = matches!(key_type, Some(KeyType::Uuid(UuidStorage::Native | UuidStorage::Binary)));
    match record.key.as_str().trim().parse::<uuid::Uuid>() {
        Ok(id) if as_value => RecordId { key: Key::from(id.to_string().as_str()), ..record },
        Ok(_) | Err(_) => record,
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_what_a_record_prints() {
        for text in ["customer:4711", "acme/customer:a:b"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert!(parse("customer").is_err() && parse(":1").is_err());
    }
}
