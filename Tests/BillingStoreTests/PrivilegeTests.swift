import Postgres
import TestSupport
import Testing

/// What the catalogs say of every object, so that a new one cannot be forgotten.
@Suite(.serialized, .timeLimit(.minutes(2))) struct PrivilegeTests {
    private static let shop = Task { try await Shop.open() }

    /// The rows of a walk that should find nothing, as text.
    private func findings(_ query: String) async throws -> [String] {
        try await Self.shop.value.run(query).map { try $0.string("found") }
    }

    private static let roles =
        "('billing_web', 'billing_worker', 'billing_report', 'billing_admin')"

    @Test func noFunctionIsForEverybody() async throws {
        #expect(
            try await findings(
                """
                SELECT oid::regprocedure::text AS found FROM pg_proc
                WHERE pronamespace = 'billing'::regnamespace
                  AND (proacl IS NULL OR EXISTS (
                      SELECT FROM aclexplode(proacl) WHERE grantee = 0))
                """) == [])
    }

    @Test func noTableOrSchemaIsForEverybody() async throws {
        #expect(
            try await findings(
                """
                SELECT relname::text AS found FROM pg_class, aclexplode(relacl)
                WHERE relnamespace = 'billing'::regnamespace AND grantee = 0
                UNION ALL
                SELECT nspname::text FROM pg_namespace, aclexplode(nspacl)
                WHERE nspname = 'billing' AND grantee = 0
                UNION ALL
                SELECT attname::text FROM pg_attribute
                JOIN pg_class ON pg_class.oid = attrelid, aclexplode(attacl)
                WHERE relnamespace = 'billing'::regnamespace AND grantee = 0
                """) == [])
    }

    /// Otherwise the caller chooses which table or operator a function means.
    @Test func functionsWithTheOwnersRightsFixTheirSearchPath() async throws {
        #expect(
            try await findings(
                """
                SELECT oid::regprocedure::text AS found FROM pg_proc
                WHERE pronamespace = 'billing'::regnamespace AND prosecdef
                  AND NOT coalesce(proconfig @> '{"search_path=pg_catalog, pg_temp"}', false)
                """) == [])
        #expect(
            try await findings(
                """
                SELECT oid::regprocedure::text AS found FROM pg_proc
                WHERE pronamespace = 'billing'::regnamespace AND prosecdef
                """
            ).count >= 8)
    }

    @Test func theRolesHaveNoPowersOfTheCluster() async throws {
        #expect(
            try await findings(
                """
                SELECT rolname::text AS found FROM pg_roles
                WHERE rolname IN \(Self.roles) AND (rolsuper OR rolcreaterole OR rolcreatedb
                    OR rolreplication OR rolbypassrls OR rolcanlogin)
                UNION ALL
                SELECT m.member::regrole || ' in ' || m.roleid::regrole FROM pg_auth_members AS m
                WHERE m.member::regrole::text IN \(Self.roles)
                """) == [])
    }

    @Test func nobodyPassesPrivilegesOn() async throws {
        #expect(
            try await findings(
                """
                SELECT relname || ' ' || privilege_type AS found
                FROM pg_class, aclexplode(relacl)
                WHERE relnamespace = 'billing'::regnamespace AND is_grantable
                  AND grantee <> relowner
                """) == [])
    }

    /// On whole tables: column by column, the roles' tests do it.
    @Test func onlyReadingAndAddingIsGrantedOnWholeTables() async throws {
        #expect(
            try await findings(
                """
                SELECT grantee::regrole || ' ' || privilege_type || ' ' || relname AS found
                FROM pg_class, aclexplode(relacl)
                WHERE relnamespace = 'billing'::regnamespace AND grantee <> relowner
                  AND privilege_type NOT IN ('SELECT', 'INSERT')
                ORDER BY 1
                """) == [
                    // Filled in from another system's books, and mended by filling in again.
                    "billing_admin DELETE other_payments", "billing_web DELETE other_payments",
                    "billing_web UPDATE customers", "billing_web UPDATE plans",
                    "billing_worker UPDATE workers", "billing_worker USAGE charges_charge_id_seq",
                ])
    }

    @Test func onlyTheAdministratorChangesSettings() async throws {
        #expect(
            try await findings(
                """
                SELECT DISTINCT grantee::regrole::text AS found
                FROM pg_attribute, aclexplode(attacl)
                WHERE attrelid = 'billing.settings'::regclass AND privilege_type <> 'SELECT'
                """) == ["billing_admin"])
    }

    @Test func onlyTheWorkerReadsTheBillingKey() async throws {
        #expect(
            try await findings(
                """
                SELECT rolname::text AS found FROM pg_roles
                WHERE rolname IN \(Self.roles)
                  AND has_column_privilege(oid, 'billing.billing_keys', 'billing_key', 'SELECT')
                """) == ["billing_worker"])
    }

    /// Every function is somebody's: the daemon's, the web app's, or a trigger.
    @Test func everyFunctionIsGrantedOrATrigger() async throws {
        #expect(
            try await findings(
                """
                SELECT p.oid::regprocedure::text AS found FROM pg_proc AS p
                WHERE pronamespace = 'billing'::regnamespace AND prorettype <> 'trigger'::regtype
                  AND NOT EXISTS (SELECT FROM aclexplode(proacl) WHERE grantee <> proowner)
                """) == [])
        #expect(
            try await findings(
                """
                SELECT p.oid::regprocedure::text AS found FROM pg_proc AS p
                WHERE pronamespace = 'billing'::regnamespace AND prorettype = 'trigger'::regtype
                  AND EXISTS (SELECT FROM aclexplode(proacl) WHERE grantee <> proowner)
                """) == [])
    }
}
