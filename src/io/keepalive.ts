/** A peer over TCP whose host has lost its power says nothing any more: after two minutes its connection is ended, and what it has kept is free. */
export const KEEPALIVE = { idleS: 60, everyS: 10, probes: 6 } as const;
