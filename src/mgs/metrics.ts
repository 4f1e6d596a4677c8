import { collectDefaultMetrics, Gauge, Registry as Metrics } from 'prom-client';
import type { Clock } from '../common/clock.js';
import { type Registry, ROLES, type ServerStatus } from './registry.js';

const PREFIX = 'rawstor_mgs_';

type Mount = NonNullable<ServerStatus['mount']>;

/** What the registry knows, as Prometheus reads it. */
export function createMetrics(registry: Registry, clock: Clock, version: string): Metrics {
  const metrics = new Metrics();
  collectDefaultMetrics({ register: metrics, prefix: PREFIX });
  new Gauge({
    name: 'rawstor_build_info',
    help: 'Always 1; the labels say what runs.',
    labelNames: ['role', 'version', 'node'],
    registers: [metrics],
  }).set({ role: 'mgs', version, node: process.version }, 1);
  new Gauge({
    name: `${PREFIX}servers`,
    help: 'Servers known, by role and health.',
    labelNames: ['role', 'health'],
    registers: [metrics],
    collect() {
      this.reset();
      for (const role of ROLES) for (const health of ['up', 'late', 'down']) this.set({ role, health }, 0);
      for (const { role, health } of registry.servers()) this.inc({ role, health });
    },
  });
  perServer('server_up', 'Whether the server was heard in time.', (s) => (s.health === 'up' ? 1 : 0));
  perServer('server_silence_seconds', 'Time since the server was last heard.', (s) =>
    Math.max(0, (clock.wallMs() - s.lastSeenWallMs) / 1000),
  );
  perServer(
    'server_loop_stall_max_seconds',
    'Longest time the event loop of the server was held up since its start.',
    (s) => (s.loopStallMaxMs ?? 0) / 1000,
  );
  perServer('server_capacity_bytes', 'Size of the storage target.', (s) => s.capacityBytes, 'ost');
  perServer('server_free_bytes', 'Free space on the storage target.', (s) => s.freeBytes, 'ost');
  perServer(
    'server_damaged_blocks',
    'Blocks of 4 KiB on the storage target whose checksum is wrong.',
    (s) => s.damagedBlocks ?? 0,
    'ost',
  );
  const ofMount = (name: keyof Mount, help: string, metric: string) =>
    perServer(metric, help, ({ mount }) => (mount?.[name] as number | undefined) ?? 0, 'mount');
  ofMount('openFiles', 'Volumes that are open as files.', 'mount_open_files');
  ofMount('inFlight', 'Requests of the kernel that are under way.', 'mount_requests_in_flight');
  ofMount('readBytes', 'Bytes read from files since the mount.', 'mount_read_bytes_total');
  ofMount('writtenBytes', 'Bytes written to files since the mount.', 'mount_written_bytes_total');
  ofMount('errors', 'Reads and writes of files that failed since the mount.', 'mount_errors_total');
  return metrics;

  function perServer(name: string, help: string, value: (server: ServerStatus) => number, role?: string) {
    new Gauge({
      name: PREFIX + name,
      help,
      labelNames: ['role', 'id', 'host'],
      registers: [metrics],
      collect() {
        this.reset();
        for (const server of registry.servers()) {
          if (role !== undefined && server.role !== role) continue;
          const host = server.labels.host ?? '';
          this.set({ role: server.role, id: server.id, host }, value(server));
        }
      },
    });
  }
}
