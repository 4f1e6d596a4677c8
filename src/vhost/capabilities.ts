/** What `--print-capabilities` answers: QEMU, interop documents: vhost-user.json. */
export const CAPABILITIES = { type: 'block', features: ['read-only'] } as const;
