"""The schema's revisions, applied by agency.store.migration."""
