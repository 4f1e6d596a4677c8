#!/usr/bin/env node
import { main, RAWSTOR_MGS } from '../cli/index.js';

await main(RAWSTOR_MGS);
