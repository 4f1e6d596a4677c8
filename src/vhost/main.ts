#!/usr/bin/env node
import { main, RAWSTOR_VHOST } from '../cli/index.js';

await main(RAWSTOR_VHOST);
