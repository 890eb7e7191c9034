// A bar a day. The library comes only with the page that draws one.

import { BarChart } from '@mantine/charts';
import '@mantine/charts/styles.css';
import { useTranslation } from 'react-i18next';
import { forDrawing } from '../money/decimal';
import { charge } from '../money/format';

export interface Bar {
  label: string;
  amount: string;
}

export default function BarsByDay({ bars, name, summary }: { bars: Bar[]; name: string; summary: string }) {
  const { t } = useTranslation();
  const data = bars.map((bar) => ({ label: bar.label, [name]: forDrawing(bar.amount), exact: bar.amount }));
  return (
    <figure className="chart" aria-label={`${t('chart.label', { name })} ${summary}`}>
      <BarChart
        h={240}
        data={data}
        dataKey="label"
        series={[{ name, color: 'indigo.6' }]}
        tickLine="none"
        gridAxis="x"
        valueFormatter={(value) => charge(value.toFixed(6)).text}
        barProps={{ isAnimationActive: false, radius: 3, maxBarSize: 36 }}
        barChartProps={{ accessibilityLayer: false }}
      />
    </figure>
  );
}
