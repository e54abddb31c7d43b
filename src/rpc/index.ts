/** `rpc`: typed calls between processes. Contracts, clients, servers, streams, deadlines, cancellation. */
export { bidirectional, clientStream, contract, serverStream, unary } from "./contract.ts";
export type { Contract, Method, MethodKind, Methods } from "./contract.ts";
export { RpcClient } from "./client.ts";
export type { CheckedServer, RpcClientOptions } from "./client.ts";
export { MemoryNet } from "./memory-net.ts";
export { RpcServer } from "./server.ts";
export type { RpcServerOptions } from "./server.ts";
export { implement } from "./service.ts";
export type { Call, Handler, Handlers, Service } from "./service.ts";
export type { CallOptions, RequestStream, Stub, StubMethod } from "./stub.ts";
