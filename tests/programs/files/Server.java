import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;

/** An HTTP server that knows nothing of signals: the JVM does. */
class Server {
    public static void main(String[] arguments) throws Exception {
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", @PORT@), 0);
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, 6);
            exchange.getResponseBody().write("hello\n".getBytes());
            exchange.close();
        });
        server.start();
    }
}
