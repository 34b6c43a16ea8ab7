/// Mistakes that other layers notice: histories in memory cannot show them, or show them less well.
/// `billing-simulation --mutants --list` prints them beside its own.
enum Elsewhere {
    /// Name, layer, and what notices it there: a configuration of the model, or a test.
    static let all: [(name: String, layer: String, by: String)] = [
        ("new name after not-found", "model", "new name after not-found"),
        ("name invented at the call", "model", "names not derived"),
        ("state not read again under the lock", "model", "state not read again"),
        ("lease numbers given out again after a loss", "model", "lease numbers given out again"),
        ("gap only after a recorded unknown", "model", "gap only after a recorded unknown"),
        ("seal before the gap is over", "model", "seal without gap"),
        ("contradiction dropped", "model", "contradiction dropped"),
        ("held charge claimed again", "model", "held charge claimed again"),
        ("kept error ends a name unseen", "model", "kept error ends a name unseen"),
        ("any error ends a name", "model", "any error ends a name, no send window"),
        ("lapsed lease never claimed", "model", "lapsed lease never claimed"),
        ("name never sent again", "model", "never sent again"),
        ("error 55 counts as not sent", "wire", "aPostIsExecutedOnceThoughItsReusedConnectionDies"),
        ("a POST repeated by libcurl", "wire", "manyPostsThatDieAtOnceAreExecutedOnceEach"),
        ("redirects followed", "wire", "aRedirectIsAnAnswer"),
        ("a proxy from the environment", "wire", "theEnvironmentsProxyIsIgnored"),
        ("an answer without end", "wire", "aBodyOverTheLimitIsNoAnswer"),
        ("any certificate will do", "wire", "nothingLeavesForADoubtfulCertificate"),
        ("a request that cancellation cuts", "wire", "cancellingTheTaskDoesNotEndTheTransfer"),
        ("a result dropped by a second signal", "unit", "ShutdownTests"),
        ("repeats every few minutes for days", "unit", "eachRepeatIsAskedAfterMoreSlowly"),
        (
            "open attempts wait behind the day's limit", "conformance",
            "openAttemptsDoNotWaitBehindRowsThatWaitForTomorrow"
        ),
    ]
}
