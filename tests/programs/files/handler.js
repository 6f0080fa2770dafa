// The same server with a handler.
const server = require("node:http").createServer((request, response) => response.end("hello\n"));
process.on("SIGTERM", () => server.close(() => process.exit(0)));
server.listen(@PORT@, "127.0.0.1");
