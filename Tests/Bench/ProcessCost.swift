import Foundation
import Glibc

/// What the kernel says a process has spent.
enum ProcessCost {
    /// User and system time, in microseconds. `withChildren`: of its children too, also of those that
    /// ended and were waited for: so PostgreSQL's first process speaks for all of it.
    static func cpu(_ pid: Int32, withChildren: Bool = false) -> Double {
        var ticks = 0.0
        for folder in withChildren ? allProcesses() : [pid] {
            guard let fields = fields(folder) else { continue }
            // After the name: state, parent, … utime at 11, then stime, cutime, cstime.
            guard folder == pid || Int32(fields[1]) == pid else { continue }
            let places = folder == pid && withChildren ? 11..<15 : 11..<13
            for place in places { ticks += Double(fields[place]) ?? 0 }
        }
        return ticks * 1_000_000 / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// The most memory it ever held, in MB.
    static func peakMemory(_ pid: Int32) -> Double {
        guard let text = try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM") }),
            let kilobytes = line.split(separator: " ").dropLast().last.flatMap({ Double($0) })
        else { return 0 }
        return kilobytes / 1_024
    }

    private static func fields(_ pid: Int32) -> [Substring]? {
        guard let text = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
            let name = text.lastIndex(of: ")")
        else { return nil }
        return text[text.index(after: name)...].split(separator: " ")
    }

    private static func allProcesses() -> [Int32] {
        ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [])
            .compactMap { Int32($0) }
    }
}
