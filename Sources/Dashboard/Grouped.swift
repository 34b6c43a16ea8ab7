/// A number with commas between thousands, as Korean and English write it.
package func grouped(_ number: Int64) -> String {
    var text = ""
    let digits = Array("\(number.magnitude)")
    for (place, digit) in digits.enumerated() {
        if place > 0, (digits.count - place) % 3 == 0 { text += "," }
        text.append(digit)
    }
    return (number < 0 ? "-" : "") + text
}
