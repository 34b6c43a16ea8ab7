import Billing
package import Postgres

/// The checks of the database that must pass before a worker may claim.
package struct Preflight: Sendable {
    /// One thing that was looked at.
    package struct Finding: Hashable, Sendable {
        /// What was looked at, such as `schema`.
        package var subject: String
        /// What was found, one line.
        package var text: String
        /// What to do about it; nil: all is well.
        package var mend: String?
    }

    private let configuration: PostgresConfiguration
    private let mode: String
    private let fingerprint: String
    private let stopTimeout: Duration

    /// `mode` (`test` or `live`) and `fingerprint` are those of the secret key in hand; `stopTimeout` is how
    /// long a graceful stop waits for requests.
    package init(
        _ configuration: PostgresConfiguration, mode: String, fingerprint: String,
        stopTimeout: Duration
    ) {
        self.stopTimeout = stopTimeout
        self.configuration = configuration
        self.mode = mode
        self.fingerprint = fingerprint
    }

    /// Looks at everything and writes nothing. Never throws: not reaching the database is a finding.
    package func run() async -> [Finding] {
        let connection: PostgresConnection
        do {
            connection = try await PostgresConnection.connect(configuration)
        } catch {
            return [
                Finding(
                    subject: "database", text: error.description,
                    mend: error.message.contains("unsupported startup parameter")
                        ? "this is a transaction pooler: --pooled, or BILLINGD_POOLED=true"
                        : "is PostgreSQL up, and DATABASE_URL (or PG*) right?")
            ]
        }
        let findings = await collect(connection)
        await connection.close()
        return findings
    }

    private func collect(_ connection: isolated PostgresConnection) -> [Finding] {
        var findings: [Finding] = []
        do {
            guard let server = try connection.query(PreflightSQL.schema()).first else { return [] }
            let role = try server.string("role")
            findings.append(try database(server, role))
            guard findings.allSatisfy({ $0.mend == nil }) else { return findings }
            guard try server.bool("present") else {
                findings.append(
                    Finding(
                        subject: "schema", text: "there is no billing.settings",
                        mend: "psql -v ON_ERROR_STOP=1 -f schema.sql, as its owner"))
                return findings
            }
            guard try server.bool("readable") else {
                findings.append(
                    Finding(
                        subject: "role", text: "\(role) may not read schema billing",
                        mend: "GRANT billing_worker TO \(role)"))
                return findings
            }
            if mode == "live", !connection.isPrivate {
                findings.append(
                    Finding(
                        subject: "connection",
                        text: "billing keys would cross the network readable or unverified",
                        mend: "sslmode=verify-full with sslrootcert, or a Unix socket"))
            }
            if let settings = try connection.query(PreflightSQL.settings()).first {
                findings += try self.settings(settings)
            }
            findings += try privileges(connection.query(PreflightSQL.privileges()), role)
        } catch let error as PostgresError where error.isConnectionLost {
            // What was seen before says nothing of the server that comes back.
            return [
                Finding(
                    subject: "database", text: error.description,
                    mend: "is PostgreSQL up, and DATABASE_URL (or PG*) right?")
            ]
        } catch {
            findings.append(
                Finding(
                    subject: "database", text: "\(error)",
                    mend: "see the server's log for the statement that failed"))
        }
        return findings
    }

    private func database(_ server: PostgresRow, _ role: String) throws -> Finding {
        var finding = Finding(
            subject: "database",
            text: "PostgreSQL \(try server.string("version")), "
                + "database \(try server.string("database")), role \(role)")
        if try server.int("number") < 140_000 { finding.mend = "use PostgreSQL 14 or newer" }
        if try server.bool("standby") {
            finding.mend = "this is a standby: connect to the server that takes writes"
        }
        return finding
    }

    private func settings(_ row: PostgresRow) throws -> [Finding] {
        var findings: [Finding] = []
        let version = try row.int("schema_version")
        findings.append(
            Finding(
                subject: "schema", text: "version \(version)",
                mend: version == PostgresStore.schemaVersion
                    ? nil
                    : version < PostgresStore.schemaVersion
                        ? "older than this program: apply its schema.sql"
                        : "newer than this program: install the matching billingd"))
        let wanted = try row.string("mode")
        findings.append(
            Finding(
                subject: "mode", text: "settings.mode is \(wanted), the secret key is for \(mode)",
                mend: wanted == mode
                    ? nil
                    : "use a \(wanted)_sk_ key, or UPDATE billing.settings SET mode = '\(mode)'"))
        if let bound = try row.stringOrNil("secret_key_fingerprint"), bound != fingerprint {
            findings.append(
                Finding(
                    subject: "secret key",
                    text: "fingerprint \(fingerprint), but this database is bound to \(bound)",
                    mend: "use the key of this shop; if it was rotated at the provider: "
                        + "billingd rotate-key --why …"))
        }
        if try !row.bool("is_home") {
            findings.append(
                Finding(
                    subject: "identity",
                    text:
                        "this is a clone, a restore or a promoted standby that nobody vouched for",
                    mend: "when no other copy is being charged: billingd adopt-database --why …, "
                        + "or SELECT billing.adopt_database('why')"))
        }
        let (attempts, rungs) = (try row.int("maximum_attempts"), try row.int("rungs"))
        if attempts < rungs + 1 {
            findings.append(
                Finding(
                    subject: "settings",
                    text: "maximum_attempts is \(attempts), but a plan has \(rungs) dunning steps",
                    mend:
                        "raise settings.maximum_attempts to at least \(rungs + 1), or shorten dunning"
                ))
        }
        let timeout = try row.double("request_timeout")
        if timeout >= stopTimeout / .seconds(1) {
            findings.append(
                Finding(
                    subject: "settings",
                    text:
                        "request_timeout is \(timeout) s, but a stop waits \(stopTimeout) at most",
                    mend: "lower settings.request_timeout: a request must be able to end in a stop")
            )
        }
        if mode == "live" {
            for name in ["fsync", "full_page_writes"] where try row.string(name) != "on" {
                findings.append(
                    Finding(
                        subject: "durability", text: "\(name) is off",
                        mend: "set \(name) = on: without it a crash forgets money that was taken"))
            }
        }
        if try row.bool("paused") {
            let reason = try row.stringOrNil("paused_reason") ?? "no reason given"
            findings.append(Finding(subject: "paused", text: "nothing is charged: \(reason)"))
        }
        return findings
    }

    private func privileges(_ rows: PostgresRows, _ role: String) throws -> [Finding] {
        var findings: [Finding] = []
        for row in rows {
            let kind = try row.string("kind")
            findings.append(
                Finding(
                    subject: "role", text: "\(role) \(try row.string("what")): \(kind)",
                    mend: kind == "too much"
                        ? "connect with a login role that is a member of billing_worker and no more"
                        : "GRANT billing_worker TO \(role)"))
        }
        if findings.isEmpty {
            findings.append(Finding(subject: "role", text: "\(role) may claim and record, no more"))
        }
        return findings
    }
}
