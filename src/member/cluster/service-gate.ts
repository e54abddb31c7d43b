/**
 * A service that a server announces before what it serves is there, and goes on announcing after it has gone. While the
 * gate is shut every call is refused with `unavailable`; while it is open the server calls the handlers themselves, so
 * that it costs nothing.
 */
import type { HoldfastError } from "../../base/index.ts";
import { implement } from "../../rpc/index.ts";
import type { Call, Contract, Handlers, Methods, Service } from "../../rpc/index.ts";

type Served = Service["methods"] extends ReadonlyMap<number, infer S> ? S : never;

export class ServiceGate implements Service {
  readonly name: string;
  readonly #shut: Service;
  #reason: HoldfastError;
  #behind: Service;
  /** Ends the calls that last as long as their connection, one function each. */
  readonly #enders = new Set<(reason: HoldfastError) => void>();

  /** Shut, for this reason. */
  constructor(contract: Contract, reason: HoldfastError) {
    this.name = contract.name;
    this.#reason = reason;
    const refuse = () => {
      throw this.#reason;
    };
    const handlers = Object.fromEntries(Object.keys(contract.methods).map((name) => [name, refuse]));
    this.#shut = implement(contract, handlers as Handlers<Methods>);
    this.#behind = this.#shut;
  }

  /** The server looks it up anew at each call. */
  get methods(): Service["methods"] {
    return this.#behind.methods;
  }

  /** Calls under way that nobody expects to end, of a gate that was opened with `lasting`. */
  get lastingCount(): number {
    return this.#enders.size;
  }

  /** From the next call on, `service` serves. With `lasting`, its streams may have no end of their own: `end` ends them. */
  open(service: Service, { lasting = false }: { readonly lasting?: boolean } = {}): void {
    if (!lasting) {
      this.#behind = service;
      return;
    }
    const methods = new Map<number, Served>();
    for (const [number, served] of service.methods) methods.set(number, this.#endable(served));
    this.#behind = { name: service.name, methods };
  }

  /** New calls are refused; those under way go on. */
  shut(reason: HoldfastError): void {
    this.#reason = reason;
    this.#behind = this.#shut;
  }

  /** Shuts it and ends the lasting calls. */
  end(reason: HoldfastError): void {
    this.shut(reason);
    for (const end of this.#enders) end(reason);
    this.#enders.clear();
  }

  #endable(served: Served): Served {
    const { handle } = served;
    switch (served.method.kind) {
      case "clientStream":
        return { ...served, handle: (requests, call) => this.#orEnded(async () => handle(requests, call)) };
      case "serverStream":
      case "bidirectional":
        return { ...served, handle: (request, call) => this.#untilEnded(handle, request, call) };
      default:
        return served;
    }
  }

  /** Nothing of the call is left here when it is over, whichever way. */
  #orEnded<T>(work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const over = () => void this.#enders.delete(reject);
      this.#enders.add(reject);
      work().then(resolve, reject).finally(over);
    });
  }

  async *#untilEnded(handle: Served["handle"], request: never, call: Call): AsyncGenerator<unknown, void, undefined> {
    const iterator = (handle(request, call) as AsyncIterable<unknown>)[Symbol.asyncIterator]();
    let ended: HoldfastError | undefined;
    let wake: ((reason: HoldfastError) => void) | undefined;
    const end = (reason: HoldfastError) => {
      ended = reason;
      wake?.(reason);
    };
    this.#enders.add(end);
    try {
      for (;;) {
        const next = await new Promise<IteratorResult<unknown>>((resolve, reject) => {
          wake = reject;
          if (ended === undefined) iterator.next().then(resolve, reject);
          else reject(ended);
        });
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      this.#enders.delete(end);
      // It may be waiting in `next`, which is not waited for: its signal aborts when this call is over.
      void iterator.return?.().catch(() => {});
    }
  }
}
