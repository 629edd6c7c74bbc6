//! Records as people name them.

use super::{Exit, Failure};
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
