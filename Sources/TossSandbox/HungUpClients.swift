import NIOCore
import Synchronization

/// The connections whose client has closed its side while an answer was pending.
///
/// Writing to such a connection succeeds, because the kernel takes the bytes: without this list the
/// books would call an answer delivered that nobody reads.
final class HungUpClients: Sendable {
    private let channels = Mutex<Set<ObjectIdentifier>>([])

    func contains(_ channel: any Channel) -> Bool {
        channels.withLock { $0.contains(ObjectIdentifier(channel)) }
    }

    /// A handler for one connection.
    func makeWatcher() -> Watcher { Watcher(self) }

    /// Watches one connection's input.
    final class Watcher: ChannelInboundHandler, RemovableChannelHandler {
        typealias InboundIn = NIOAny
        private let list: HungUpClients

        init(_ list: HungUpClients) { self.list = list }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if case .inputClosed? = event as? ChannelEvent {
                let id = ObjectIdentifier(context.channel)
                list.channels.withLock { _ = $0.insert(id) }
            }
            context.fireUserInboundEventTriggered(event)
        }

        func handlerRemoved(context: ChannelHandlerContext) {
            let id = ObjectIdentifier(context.channel)
            list.channels.withLock { _ = $0.remove(id) }
        }
    }
}
