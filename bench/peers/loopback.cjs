// Preloaded into Portkey, which would listen on every address: it is to listen on 127.0.0.1 alone.
const { Server } = require("node:net");

const listen = Server.prototype.listen;

Server.prototype.listen = function (port, ...rest) {
  if (typeof port !== "number" && typeof port !== "string") return listen.call(this, port, ...rest);
  return listen.call(this, { port: Number(port), host: "127.0.0.1" }, rest.findLast((each) => typeof each === "function"));
};
