import Postgres

/// What `billingd check` and the start of `run` ask of the database, one row a finding.
enum PreflightSQL {
    /// Whether the schema is there at all, before anything else is asked of it.
    static func schema() -> PostgresQuery {
        """
        SELECT current_database() AS database, current_user AS role,
               current_setting('server_version') AS version,
               current_setting('server_version_num')::int AS number,
               pg_is_in_recovery() AS standby,
               to_regclass('billing.settings') IS NOT NULL AS present,
               CASE WHEN to_regclass('billing.settings') IS NOT NULL
                    THEN has_schema_privilege('billing', 'USAGE')
                         AND has_table_privilege('billing.settings', 'SELECT')
               END AS readable
        """
    }

    static func settings() -> PostgresQuery {
        """
        SELECT mode, s.paused OR s.shadow AS paused,
               \(sql: ShadowSQL.pausedReason) AS paused_reason, secret_key_fingerprint,
               schema_version,
               database_identity IS NULL OR database_identity = billing.identity() AS is_home,
               extract(epoch FROM request_timeout)::float8 AS request_timeout,
               maximum_attempts,
               (SELECT coalesce(max(cardinality(dunning)), 0) FROM billing.plans) AS rungs,
               current_setting('fsync') AS fsync,
               current_setting('full_page_writes') AS full_page_writes
        FROM billing.settings AS s
        """
    }

    /// What the role of the worker may do too little or too much; each row a sentence.
    static func privileges() -> PostgresQuery {
        """
        SELECT 'too much' AS kind, 'is superuser' AS what
        FROM pg_roles WHERE rolname = current_user AND rolsuper
        UNION ALL
        SELECT 'too much', 'may ' || lower(p.privilege) || ' ' || p.relation
        FROM (VALUES
            ('billing.plans', 'INSERT'), ('billing.plans', 'UPDATE'),
            ('billing.settings', 'UPDATE'), ('billing.billing_keys', 'INSERT'),
            ('billing.subscriptions', 'INSERT'), ('billing.subscriptions', 'DELETE'),
            ('billing.charges', 'DELETE'), ('billing.charges', 'TRUNCATE'),
            ('billing.attempts', 'DELETE'), ('billing.attempts', 'TRUNCATE'),
            ('billing.events', 'DELETE')
        ) AS p (relation, privilege)
        WHERE has_table_privilege(p.relation, p.privilege)
          AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
        UNION ALL
        SELECT 'too much', 'may change subscriptions.amount'
        WHERE has_column_privilege('billing.subscriptions', 'amount', 'UPDATE')
          AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
        UNION ALL
        SELECT 'too little', 'may not ' || lower(p.privilege) || ' ' || p.relation
        FROM (VALUES
            ('billing.subscriptions', 'SELECT'), ('billing.plans', 'SELECT'),
            ('billing.billing_keys', 'SELECT'), ('billing.charges', 'SELECT'),
            ('billing.charges', 'INSERT'), ('billing.attempts', 'SELECT'),
            ('billing.attempts', 'INSERT'), ('billing.events', 'INSERT'),
            ('billing.workers', 'INSERT'), ('billing.workers', 'UPDATE'),
            ('billing.reconciliations', 'SELECT')
        ) AS p (relation, privilege)
        WHERE NOT has_table_privilege(p.relation, p.privilege)
        UNION ALL
        SELECT 'too little', 'may not update ' || p.relation || '.' || p.field
        FROM (VALUES
            ('billing.subscriptions', 'next_charge_at'), ('billing.subscriptions', 'lease_until'),
            ('billing.charges', 'state'), ('billing.attempts', 'state'),
            ('billing.billing_keys', 'state')
        ) AS p (relation, field)
        WHERE NOT has_column_privilege(p.relation, p.field, 'UPDATE')
        """
    }
}
