/// Issuing and deleting billing keys.
extension SandboxState {
    /// `POST /v1/billing/authorizations/issue`.
    mutating func issue(_ request: SandboxRequest) -> Answer {
        guard ApproveBody.isJSON(request.contentType), let json = JSONValue(request.body),
            case .object = json
        else { return .error("INVALID_REQUEST") }
        guard let authValue = json["authKey"], let customerValue = json["customerKey"] else {
            return .error("INVALID_REQUIRED_PARAM")
        }
        guard let authKey = authValue.string, let customerKey = customerValue.string,
            authKey.utf16.count <= 300
        else { return .error("INVALID_REQUEST") }
        if let code = customerKeyFault(customerKey) { return .error(code) }
        guard let auth = keys.authKeys[authKey], auth.customerKey == customerKey else {
            return .error("NOT_FOUND_BILLING")
        }
        keys.authKeys[authKey] = nil
        journalSpent(authKey)
        return .success(newKey(customerKey, .init(number: auth.cardNumber), auth.cardNumber))
    }

    /// `POST /v1/billing/authorizations/card`.
    mutating func registerCard(_ request: SandboxRequest) -> Answer {
        guard ApproveBody.isJSON(request.contentType), let json = JSONValue(request.body),
            case .object = json
        else { return .error("INVALID_REQUEST") }
        var texts: [String] = []
        for name in [
            "customerKey", "cardNumber", "cardExpirationYear", "cardExpirationMonth",
            "customerIdentityNumber",
        ] {
            guard let value = json[name] else { return .error("INVALID_REQUIRED_PARAM") }
            guard let text = value.string else { return .error("INVALID_REQUEST") }
            texts.append(text)
        }
        if let code = customerKeyFault(texts[0]) { return .error(code) }
        guard (14...20).contains(texts[1].utf8.count), isDigits(texts[1]) else {
            return .error("INVALID_CARD_NUMBER")
        }
        guard let expiresAt = expiry(year: texts[2], month: texts[3]), now < expiresAt else {
            return .error("INVALID_CARD_EXPIRATION")
        }
        guard isIdentity(texts[4]) else { return .error("INVALID_BIRTH_DAY_FORMAT") }
        if let password = json["cardPassword"] {
            guard let text = password.string, text.utf8.count == 2, isDigits(text) else {
                return .error("INVALID_CARD_PASSWORD")
            }
        }
        if let email = json["customerEmail"] {
            guard let text = email.string, text.utf16.count <= 100, text.contains("@") else {
                // The issue calls have a text of their own for this code.
                let own = ProviderError(
                    code: "INVALID_EMAIL", status: 400, message: "유효하지 않은 이메일 주소 형식입니다.")
                return Answer(status: own.status, body: own.body, code: own.code)
            }
        }
        if let name = json["customerName"] {
            guard let text = name.string, text.utf16.count <= 100 else {
                return .error("INVALID_REQUEST")
            }
        }
        return .success(
            newKey(texts[0], .init(number: texts[1], expiresAt: expiresAt), texts[1]))
    }

    /// `DELETE /v1/billing/{billingKey}`: 200 with an empty body.
    mutating func delete(
        billingKey: String, reason: JSONValue = "삭제 API 요청"
    ) -> Answer {
        guard let key = keys.index(billingKey) else { return .error("BILLING_KEY_NOT_FOUND") }
        if keys[key].isDeleted {
            return .error(
                switches.repeatedDeleteIsNotFound
                    ? "NOT_FOUND_BILLING" : "ALREADY_REMOVED_BILLING_KEY")
        }
        keys[key].isDeleted = true
        journalDeleted(key)
        announceDeleted(key, reason: reason)
        return .success([])
    }

    /// Issues a key without the provider's checks.
    mutating func issueDirectly(
        customerKey: String, script: CardScript?, billingKey: String? = nil
    ) -> String {
        let text = billingKey ?? keys.nextBillingKey(ids)
        let index = keys.add(
            .init(
                billingKey: text, customerKey: customerKey, card: .init(), issuedAt: now,
                script: script))
        journalKey(index)
        return keys[index].billingKey
    }

    /// Measured: 301 characters make the provider's database fail; the character set is free.
    private func customerKeyFault(_ customerKey: String) -> String? {
        switch customerKey.utf16.count {
        case 2...300: nil
        case 301...: "FAILED_DB_PROCESSING"
        default: "INVALID_CUSTOMER_KEY"
        }
    }

    private func isDigits(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.allSatisfy { (48...57).contains($0) }
    }

    /// Six digits `yyMMdd` or a business number of ten.
    private func isIdentity(_ text: String) -> Bool {
        guard isDigits(text) else { return false }
        if text.utf8.count == 10 { return true }
        guard text.utf8.count == 6, let month = Int(text.dropFirst(2).prefix(2)),
            let day = Int(text.suffix(2))
        else { return false }
        return (1...12).contains(month) && (1...31).contains(day)
    }

    /// The first second of the month after the card's last.
    private func expiry(year: String, month: String) -> Int64? {
        guard isDigits(year), isDigits(month), year.utf8.count == 2, month.utf8.count == 2,
            let y = Int(year), let m = Int(month), (1...12).contains(m)
        else { return nil }
        let next = m == 12 ? "\(2001 + y)-01-01" : "\(2000 + y)-\(m < 9 ? "0" : "")\(m + 1)-01"
        return KoreanTime.seconds(next)
    }

    private mutating func newKey(
        _ customerKey: String, _ card: KeyRing.Card, _ number: String
    ) -> [UInt8] {
        let index = keys.add(
            .init(
                billingKey: keys.nextBillingKey(ids), customerKey: customerKey, card: card,
                issuedAt: now, script: keys.cardScripts[number]))
        journalKey(index)
        var out = JSONBuffer()
        out.raw("{\"mId\":\"sandbox01\",\"customerKey\":")
        out.string(customerKey)
        out.raw(",\"authenticatedAt\":\"\(KoreanTime.text(now))\",\"method\":\"카드\",")
        out.raw("\"billingKey\":\"\(keys[index].billingKey)\",\"card\":{\"issuerCode\":\"")
        out.raw("\(card.issuerCode)\",\"acquirerCode\":\"\(card.issuerCode)\",\"number\":\"")
        out.raw("\(card.number)\",\"cardType\":\"\(card.cardType)\",\"ownerType\":\"")
        out.raw("\(card.ownerType)\"},\"transfers\":null,\"cardCompany\":\"하나\",\"cardNumber\":\"")
        out.raw("\(card.number)\"}")
        return out.bytes
    }
}
