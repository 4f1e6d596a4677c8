export * from './chunk-op.js';
export * from './connection.js';
export * from './control.js';
export * from './crc32c.js';
export * from './frame.js';
export * from './messages.js';
export * from './records.js';
export * from './version.js';
