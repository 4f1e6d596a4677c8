/**
 * Version of the wire protocol. A changelog, newest last; a program speaks every version from MIN to CURRENT.
 *
 * - 1: first. Frames of 72 bytes, HELLO, CALL, EVENT, PING, READ, WRITE, ZERO, ERASE, FLUSH.
 */
export const PROTOCOL_VERSION_MIN = 1;
export const PROTOCOL_VERSION_CURRENT = 1;
